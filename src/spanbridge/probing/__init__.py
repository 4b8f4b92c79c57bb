# SPDX-License-Identifier: Apache-2.0
"""
Measuring a network from inside given network namespaces.

Owns raw ICMP and packet sockets, and the dials that a verification makes. May import
``rtnl``, ``model`` and ``base``. Takes an endpoint and the namespace that it is in;
never knows who made it, a lab or a container runtime. Never runs a process.
"""
