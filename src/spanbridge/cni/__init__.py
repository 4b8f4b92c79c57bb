# SPDX-License-Identifier: Apache-2.0
"""
The CNI front-end: environment and standard input in, a result or a coded error out.

Owns the verbs and ``desired()``, the pure function from configuration and IPAM result
to the state that the kernel shall have. May import ``bridge``, ``firewall``, ``ipam``
and below. Holds no state between calls.
"""
