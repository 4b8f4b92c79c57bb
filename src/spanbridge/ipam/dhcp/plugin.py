# SPDX-License-Identifier: Apache-2.0
"""
``ipam.type`` dhcp for one call: the lease itself is kept by the agent.

In the agent the keeper is at hand. The one-shot program has none: it would be gone
when the lease has to be renewed, so it passes the whole call on to the agent.
"""

from typing import Final

from spanbridge.base.errors import (
    Code,
    InputError,
    MismatchError,
    NodeError,
)
from spanbridge.base.log import warn
from spanbridge.ipam import Ipam, IpamCall, IpamPlace, IpamPreview, Releaser
from spanbridge.ipam.dhcp.conf import DhcpConf, client_id, parse_dhcp_conf
from spanbridge.ipam.dhcp.keeper import LeaseAsk, LeaseKeeper
from spanbridge.ipam.dhcp.lease import lease_result
from spanbridge.model.owner import Owner
from spanbridge.model.request import Request
from spanbridge.model.result import CniResult
from spanbridge.rtnl import NetNs, Rtnl, set_link


def _owner(request: Request, call: IpamCall) -> Owner:
    return Owner.of(call.name, request.container_id, request.ifname)


def open_dhcp(request: Request, call: IpamCall) -> Ipam:
    """
    Read and check the section.

    Raises:
        ConfigError: The first fault found.
    """
    conf = parse_dhcp_conf(call.ipam.node)
    if request.verb == "ADD":
        for key in conf.unknown:
            warn("unknown key in ipam is not read", key=key.pointer, nearest=key.nearest)
    if call.place.keeper is not None:
        return Dhcp(request, call, conf, call.place.keeper)
    from spanbridge.ipam.dhcp.by_agent import DhcpByAgent

    return DhcpByAgent(request, call, conf)


def open_dhcp_for_release(request: Request, call: IpamCall) -> Releaser:
    """Open for DEL and GC, which need nothing of the section but where the agent is."""
    if call.place.keeper is not None:
        return DhcpRelease(request, call, call.place.keeper)
    from spanbridge.ipam.dhcp.by_agent import DhcpByAgent

    try:
        conf = parse_dhcp_conf(call.ipam.node)
    except InputError:
        conf = None
    return DhcpByAgent(request, call, conf)


class DhcpRelease:
    """Giving a lease back, whatever the section says by now."""

    releases_by_link: Final = True

    def __init__(self, request: Request, call: IpamCall, keeper: LeaseKeeper) -> None:
        self._owner = _owner(request, call)
        self._network = call.name
        self._keeper = keeper

    def release(self) -> None:
        """Send RELEASE while the interface is there, and forget the lease."""
        self._keeper.release(self._owner)

    def collect(self, valid: frozenset[tuple[str, str]]) -> None:
        """Release the leases of all others of this network."""
        self._keeper.collect(self._network, valid)


class Dhcp(DhcpRelease):
    """A lease of a DHCP server, kept by this process."""

    needs_link: Final = True

    def __init__(
        self, request: Request, call: IpamCall, conf: DhcpConf, keeper: LeaseKeeper
    ) -> None:
        super().__init__(request, call, keeper)
        self._conf = conf
        self._request = request
        self._place: IpamPlace = call.place
        self._section = dict(call.ipam.node.raw)

    def add(self) -> CniResult:
        """
        Lease an address over the interface in the sandbox.

        Raises:
            AddressError: No server offered one within the budget; nothing stays behind.
            RetryError: The caller gave up, or the agent ends.
        """
        sandbox = self._place.sandbox
        if sandbox is None:
            raise AssertionError("an ADD always comes with a sandbox")
        netns = sandbox.open()
        args = self._request.args
        ask = LeaseAsk(
            owner=self._owner,
            netns=netns,
            netns_path=self._request.netns,
            conf=self._conf,
            client_id=client_id(self._conf, self._owner, args=args, mac=self._mac(netns)),
            section=self._section,
            args=args,
        )
        lease = self._keeper.acquire(ask, cancelled=self._place.cancelled)
        return lease_result(lease, self._conf)

    def _mac(self, netns: NetNs) -> str:
        """Read the interface's address, and set it up where the main plugin has not yet."""
        with Rtnl.open(netns) as rtnl:
            link = rtnl.link(self._owner.ifname)
            if link is None:
                raise NodeError(
                    f"cannot lease an address: there is no {self._owner.ifname} in the sandbox",
                    hint="the main plugin makes the interface before it asks for addresses",
                    code=Code.ADDRESS_UNAVAILABLE,
                )
            if not link.up:
                rtnl.request(set_link(link.index, up=True))
        return link.mac

    def check(self, previous: CniResult | None) -> None:
        """
        Compare the lease with what ADD answered; sends nothing.

        Raises:
            MismatchError: There is no lease, or it is for another address by now.
        """
        lease = self._keeper.find(self._owner)
        hint = "delete the pod so that it is attached anew"
        if lease is None:
            raise MismatchError(
                f"cannot confirm the lease of {self._owner.ifname}: there is none", hint=hint
            )
        leased = {ip.address for ip in lease_result(lease, self._conf).ips}
        promised = {ip.address for ip in previous.ips} if previous is not None else leased
        for address in sorted(map(str, promised - leased)):
            raise MismatchError(
                f"cannot confirm address {address}: the lease is for "
                f"{', '.join(map(str, leased))} now",
                hint=f"the server gave another address; {hint}",
            )

    def status(self) -> None:
        """Raise ``NotReadyError`` when no lease could be kept."""
        self._keeper.status()

    def preview(self) -> IpamPreview:
        """Say where the address comes from."""
        return preview(self._conf)


def preview(conf: DhcpConf) -> IpamPreview:
    """Tell what ADD would do; what a server answers cannot be known before."""
    words = (
        f"an address leased from a DHCP server within {conf.timeout_s:g} s, over this network",
        "the agent on the node renews the lease, and gives it back on DEL",
    )
    return IpamPreview(words, None, conf.unknown)
