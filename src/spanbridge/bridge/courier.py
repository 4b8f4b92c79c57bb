# SPDX-License-Identifier: Apache-2.0
"""
Sending one frame into a network from the place of a pod that is gone.

A DHCP lease is released from the leased address on the pod's own VLAN, also when the
pod was removed while nobody watched. A port of its own, made for the moment, is the
only way in that serves every bridge: in the right VLAN, learned like any other.
"""

import contextlib
import errno
import secrets
import socket
from typing import Final

from spanbridge.base.errors import SpanbridgeError
from spanbridge.base.names import IfName
from spanbridge.bridge.link import default_pvid, port_messages, wait_for_port
from spanbridge.bridge.site import Site, random_mac
from spanbridge.model.desired import DesiredAttachment
from spanbridge.rtnl import Link, del_link, new_veth, set_link

_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT})


def send_into(site: Site, want: DesiredAttachment, frame: bytes) -> bool:
    """
    Send a whole Ethernet frame as if the pod of ``want`` had sent it.

    Returns:
        False where there is no such bridge any more.

    Raises:
        SpanbridgeError: The kernel refused; nothing is left behind.
    """
    bridge = site.node.link(want.bridge.name)
    if bridge is None or bridge.bridge is None:
        return False
    number = secrets.token_hex(4)
    port, end = IfName(f"vetp{number}"), IfName(f"vete{number}")
    try:
        _make(site, want, bridge, port=port, end=end)
        site.host.run(lambda: _send(end, frame))
    except OSError as exc:
        raise SpanbridgeError(f"cannot send into {want.bridge.name}: {exc.strerror}") from exc
    finally:
        with contextlib.suppress(SpanbridgeError):
            site.node.request(del_link(name=port), tolerate=_GONE)
    return True


def _make(site: Site, want: DesiredAttachment, bridge: Link, *, port: IfName, end: IfName) -> None:
    site.node.request(
        new_veth(port, peer=end, mac=random_mac(), peer_mac=random_mac(), master=bridge.index)
    )
    made = site.node.link(port)
    if made is None:
        raise SpanbridgeError(f"cannot use {port}: it was removed while we made it")
    # Both ends speak for the pod alone: neither gets an address of its own.
    quiet = [(f"net/ipv6/conf/{each}/disable_ipv6", "1") for each in (port, end)]
    site.host.write_sysctls(quiet, missing_ok=True)
    site.node.request(
        *port_messages(made.index, want.port, default_pvid=default_pvid(bridge)),
        set_link(made.index, up=True),
        set_link(end, up=True),
    )
    wait_for_port(site, made)


def _send(end: IfName, frame: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as raw:
        raw.bind((end, 0))
        raw.send(frame)
