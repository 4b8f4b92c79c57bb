# SPDX-License-Identifier: Apache-2.0
"""
Networks that stretch over nodes and clusters: what is planned, found wrong, and proved.

Everything here is pure: it judges observations and files that somebody else has read,
and can be replayed from a file.

May import ``kube``, ``report``, ``ipam``, ``model`` and ``base``. Must never touch the
kernel, import ``cni`` or ``bridge``, or run a process.
"""
