# SPDX-License-Identifier: Apache-2.0
"""
The lab: clusters made of network namespaces, and guest kernels to run them in.

Owns topologies, the fabric switch, guests and their cleaning up. May import what
lies below it (`cni`, `bridge`, `rtnl`, …). Only `cli` may import it: product code
never depends on the lab.
"""
