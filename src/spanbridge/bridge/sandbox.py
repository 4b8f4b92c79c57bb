# SPDX-License-Identifier: Apache-2.0
"""The sandbox end: sysctls, addresses, link state, routes, duplicate detection."""

import errno
import time
from typing import Final

from spanbridge.base.errors import AddressError, Code, NodeError
from spanbridge.bridge.link import Attached
from spanbridge.bridge.site import Site
from spanbridge.model.addresses import Cidr
from spanbridge.model.desired import SandboxState
from spanbridge.model.result import RouteConfig
from spanbridge.rtnl import (
    SCOPE_LINK,
    Message,
    Rtnl,
    del_address,
    del_route,
    new_address,
    new_route,
    set_link,
)

DAD_WAIT_S: Final = 10.0
"""Seconds that duplicate detection may take. RFC 4862 with the kernel's defaults: 1 to 2 s."""

AF_INET6: Final = 10

_THERE: Final = frozenset({errno.EEXIST})
_GONE: Final = frozenset({errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV})


def _address_sysctls(want: SandboxState) -> list[tuple[str, str]]:
    """List the sysctls that addresses need; those of a kernel without IPv6 are skipped."""
    if all(address.version == 4 for address in want.addresses):
        return []
    v6 = f"net/ipv6/conf/{want.ifname}"
    return [
        ("net/ipv6/conf/lo/disable_ipv6", "0"),
        (f"{v6}/disable_ipv6", "0"),
        (f"{v6}/keep_addr_on_down", "1"),
        (f"{v6}/ndisc_notify", "1"),
    ]


def _messages(want: SandboxState, index: int) -> list[Message]:
    return [
        *(_new_address(want, index, address) for address in want.addresses),
        set_link(index, up=True, arp_notify=True),
        *(_new_route(index, route) for route in want.routes),
    ]


def _new_address(want: SandboxState, index: int, address: Cidr) -> Message:
    nodad = address.version == 6 and not want.duplicate_detection
    return new_address(index, str(address.ip), address.prefix_length, nodad=nodad)


def _new_route(index: int, route: RouteConfig) -> Message:
    on_link = not route.gw and route.dst.version == 4 and route.scope is None
    return new_route(
        str(route.dst),
        gateway=route.gw or None,
        oif=index,
        table=route.table,
        priority=route.priority or None,
        scope=SCOPE_LINK if on_link else route.scope,
        mtu=route.mtu or None,
        advmss=route.advmss or None,
        append=True,
    )


def _del_route(index: int, route: RouteConfig) -> Message:
    return del_route(
        str(route.dst),
        gateway=route.gw or None,
        oif=index,
        table=route.table,
        priority=route.priority or None,
    )


def raise_sandbox(site: Site, attached: Attached) -> None:
    """
    Set the sandbox end up, before it has addresses.

    Some are asked for over it; and while they are given, the kernel brings up the port, which
    takes it half a millisecond on another processor.

    Raises:
        KernelError: The kernel refused.
    """
    site.inside.request(set_link(attached.sandbox.index, up=True, arp_notify=True))


def ensure_sandbox(site: Site, want: SandboxState, attached: Attached) -> None:
    """
    Address the sandbox end, and set it up where it is not.

    There is nothing to undo: all of it goes with the link.

    Raises:
        KernelError: An address or route was refused.
        AddressError: IPv6 duplicate detection found the address in use.
    """
    if not want.up:
        return
    index = attached.sandbox.index
    if not want.layer3:
        site.inside.request(set_link(index, up=True))
        return
    site.enter(_address_sysctls(want))
    site.inside.request(*_messages(want, index))
    if want.duplicate_detection and any(address.version == 6 for address in want.addresses):
        _wait_for_dad(site, index)


def renumber_sandbox(inside: Rtnl, index: int, old: SandboxState, new: SandboxState) -> None:
    """
    Turn the addresses and routes of one state into those of another; the rest stays.

    What is new comes before what is old goes, so connections by a route that both have
    go on. What a container changed meanwhile is no error.

    Raises:
        KernelError: The kernel refused for another reason than that it is so already.
    """
    added = [each for each in new.addresses if each not in old.addresses]
    gone = [each for each in old.addresses if each not in new.addresses]
    inside.request(
        *(_new_address(new, index, each) for each in added),
        *(_new_route(index, each) for each in new.routes if each not in old.routes),
        tolerate=_THERE,
    )
    inside.request(
        *(_del_route(index, each) for each in old.routes if each not in new.routes),
        *(del_address(index, str(each.ip), each.prefix_length) for each in gone),
        tolerate=_GONE,
    )


def _wait_for_dad(site: Site, index: int) -> None:
    deadline = time.monotonic() + DAD_WAIT_S
    while True:
        seen = site.inside.addresses(index, family=AF_INET6)
        failed = [address.address for address in seen if address.dad_failed]
        if failed:
            raise AddressError(
                f"cannot use address {failed[0]}: another host on the link has it",
                hint="find the other host, or exclude the address from the range",
                code=Code.ADDRESS_DUPLICATE,
            )
        if not any(address.tentative for address in seen):
            return
        if time.monotonic() > deadline:
            raise NodeError(
                f"cannot finish duplicate address detection within {DAD_WAIT_S:.0f} s",
                hint='check the link, or write "enabledad": false',
            )
        time.sleep(0.02)
