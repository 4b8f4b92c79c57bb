# SPDX-License-Identifier: Apache-2.0
"""
Spanbridge: the network that lets a running virtual machine move between clusters.

Layers, upper may import lower, never sideways or up (import-linter checks it)::

    cli
    agent | lab
    cni | stretch
    bridge | firewall | ipam | kube | probing | report
    rtnl | model
    base
"""

__version__ = "0.1.0"
