# SPDX-License-Identifier: Apache-2.0
"""
``ipam.type`` dhcp: an address leased from a DHCPv4 server on the attachment's link.

``packet``, ``ether``, ``options``, ``conf`` and ``lease`` are pure: bytes and plain
values in, the same out. The server is a stranger on the link, so whatever it sends
becomes a value or a ``PacketError``, never another exception.
"""
