# SPDX-License-Identifier: Apache-2.0
"""
Programs that behave on the wire as KubeVirt's pods do: same names, ports and trust.

They are given plain data and know of no lab, so they run in any namespace. May import
``base`` and ``rtnl`` and nothing else of ours: each node starts some of them, in a guest
thirty times as slowly.
"""
