# SPDX-License-Identifier: Apache-2.0
"""
Virtual machines of the lab: real QEMU guests that a migration moves between clusters.

Each runs in the network namespace of a virt-launcher on its node, and speaks to the world
by unix sockets and one tap, as under KubeVirt. Inside, a Debian kernel and busybox count
aloud and hold a TCP session, so that what a migration does to a guest can be seen.

May import what the rest of the lab may. Must never touch the migration network.
"""
