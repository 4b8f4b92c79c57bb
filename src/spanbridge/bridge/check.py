# SPDX-License-Identifier: Apache-2.0
"""
CHECK: the first difference between what ADD promised and what the kernel has.

What a later plugin of the chain may change is not compared: routes that were added or
moved to another table, the MTU of the sandbox end, a sandbox end that was left down and
that the container has set up since.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from spanbridge.base.errors import MismatchError
from spanbridge.base.names import IfName
from spanbridge.bridge.gateway import FORWARDING, cidr_of, vlan_port
from spanbridge.bridge.site import Site
from spanbridge.model.desired import DesiredAttachment, GatewayState, PortState, SandboxState
from spanbridge.model.result import RouteConfig
from spanbridge.model.uplink import UplinkState
from spanbridge.rtnl import Link, PortVlan, Route, Rtnl


@dataclass(frozen=True, slots=True)
class Difference:
    """
    One thing that is not as promised.

    Attributes:
        subject: What, for example ``host port veth1a2b3c4d``.
        cause: How it differs.
        hint: What mends it.
    """

    subject: str
    cause: str
    hint: str = "delete the pod so that it is attached anew"

    def error(self) -> MismatchError:
        """Turn it into what CHECK raises."""
        return MismatchError(f"cannot confirm {self.subject}: {self.cause}", hint=self.hint)


def check(site: Site, want: DesiredAttachment, *, bridge_mac: str, sandbox_mac: str) -> Link:
    """
    Compare, and raise at the first difference.

    Args:
        site: Where.
        want: What ADD promised, with the addresses and routes of ``prevResult``.
        bridge_mac: As ADD reported it; empty when unknown.
        sandbox_mac: As the last plugin of the chain reported it; empty when unknown.

    Returns:
        The host port.

    Raises:
        MismatchError: The first difference.
    """
    bridge = _found(site.node.link(want.bridge.name), f"bridge {want.bridge.name}")
    inside = _found(site.inside.link(want.sandbox.ifname), f"interface {want.sandbox.ifname}")
    # Only a bridge that is the gateway itself has to keep its MAC; any other one of somebody
    # else's follows its ports.
    is_gateway = want.gateway is not None and not want.gateway.vlan
    _raise_first(_bridge(want, bridge, bridge_mac if is_gateway else ""))
    if want.uplink is not None:
        _raise_first(_uplink(site.node, want.uplink, bridge))
    if inside.kind != "veth" or not inside.link:
        raise Difference(f"interface {inside.name}", f"it is of kind {inside.kind!r}").error()
    port = _found(site.node.link(inside.link), f"the host end of {inside.name}")
    _raise_first(_port(site, want, bridge, seen=port, inside=inside))
    _raise_first(_sandbox(site, want.sandbox, inside, sandbox_mac))
    if want.gateway is not None:
        _raise_first(_gateway(site, want.gateway, bridge))
    return port


def _raise_first(differences: Iterator[Difference]) -> None:
    for difference in differences:
        raise difference.error()


def _found(link: Link | None, subject: str) -> Link:
    if link is None:
        raise Difference(subject, "it does not exist").error()
    return link


def _bridge(want: DesiredAttachment, seen: Link, mac: str) -> Iterator[Difference]:
    subject, name = f"bridge {seen.name}", seen.name
    if seen.bridge is None:
        yield Difference(subject, f"it is of kind {seen.kind!r}")
        return
    if not seen.up:
        yield Difference(subject, "it is down", f"run: ip link set {name} up")
    if want.bridge.vlan_filtering and not seen.bridge.vlan_filtering:
        yield Difference(
            subject,
            "it does not filter VLANs",
            f"run: ip link set dev {name} type bridge vlan_filtering 1",
        )
    if want.bridge.promisc and not seen.promisc:
        yield Difference(subject, "it is not promiscuous", f"run: ip link set {name} promisc on")
    if want.bridge.linklocal_deaf and seen.bridge.linklocal_learning:
        yield Difference(
            subject,
            "it learns MACs from frames that pass the MAC check by",
            f"run: ip link set dev {name} type bridge no_linklocal_learn 1",
        )
    if mac and mac != seen.mac:
        yield Difference(subject, f"its MAC is {seen.mac}, not {mac}")


def _uplink(node: Rtnl, want: UplinkState, bridge: Link) -> Iterator[Difference]:
    from spanbridge.bridge.uplink import default_vlan, observe_facts, port_plan, thieves

    name, subject = want.device, f"uplink {want.device}"
    if node.link(name) is None:
        yield Difference(subject, "it does not exist", "see what there is: ip -br link")
        return
    facts = observe_facts(node, name, IfName(bridge.name))
    if not facts.is_port:
        hint = f"run: ip link set {name} master {bridge.name}"
        yield Difference(subject, f"it is no port of {bridge.name}", hint)
        return
    if not facts.device.up:
        yield Difference(subject, "it is down", f"run: ip link set {name} up")
    given = default_vlan(bridge)
    if given is not None and (lacking := port_plan(want, given, facts.vlans, fresh=False).added):
        spelled = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in lacking)
        yield Difference(
            subject,
            f"it lacks VLAN {spelled}",
            f"run: bridge vlan add dev {name} vid {spelled.partition(',')[0]}",
        )
    for thief in thieves(facts.upper, want.vlans):
        yield Difference(
            subject,
            f"its 802.1Q interface {thief.name} takes the frames of VLAN {thief.vlan_id}",
            f"run: ip link del {thief.name}",
        )
    if want.mtu > facts.device.mtu:
        yield Difference(
            subject,
            f"its MTU is {facts.device.mtu}, below {want.mtu}",
            f"run: ip link set {name} mtu {want.mtu}",
        )


def _port(
    site: Site, want: DesiredAttachment, bridge: Link, *, seen: Link, inside: Link
) -> Iterator[Difference]:
    subject = f"host port {seen.name}"
    if seen.kind != "veth" or seen.link != inside.index:
        yield Difference(f"the host end of {inside.name}", "it is not in the node's namespace")
        return
    if seen.master != bridge.index or seen.port is None:
        yield Difference(
            subject,
            f"it is no port of {bridge.name}",
            f"run: ip link set {seen.name} master {bridge.name}",
        )
        return
    if not seen.up:
        yield Difference(subject, "it is down", f"run: ip link set {seen.name} up")
    for flag, wanted, found in (
        ("hairpin", want.port.hairpin, seen.port.hairpin),
        ("isolated", want.port.isolated, seen.port.isolated),
    ):
        if wanted != found:
            state = "on" if wanted else "off"
            yield Difference(
                subject,
                f"{flag} is not {state}",
                f"run: bridge link set dev {seen.name} {flag} {state}",
            )
    if site.host.read_sysctl(f"net/ipv6/conf/{seen.name}/accept_ra") not in {None, "0"}:
        yield Difference(subject, "it takes router advertisements of the pod")
    if want.sandbox.mtu and seen.mtu != want.sandbox.mtu:
        yield Difference(subject, f"its MTU is {seen.mtu}, not {want.sandbox.mtu}")
    yield from _vlans(subject, want.port, site.node.port_vlans(seen.index))


def _spell(vids: set[int]) -> str:
    return ", ".join(str(vid) for vid in sorted(vids)[:8])


def _vlans(subject: str, want: PortState, seen: tuple[PortVlan, ...]) -> Iterator[Difference]:
    if want.pvid is None:
        return
    tagged = {vid for each in want.tagged for vid in range(each.first, each.last + 1)}
    found = {vid for each in seen for vid in range(each.vid, each.vid_end + 1)}
    if not any(each.vid == want.pvid and each.pvid and each.untagged for each in seen):
        yield Difference(subject, f"VLAN {want.pvid} is not its PVID, untagged")
    if tagged - found:
        yield Difference(subject, f"it lacks VLAN {_spell(tagged - found)}")
    extra = found - tagged - {int(want.pvid)}
    if extra and not want.keep_default_vlan:
        yield Difference(
            subject,
            f"it also carries VLAN {_spell(extra)}",
            f"run: bridge vlan del vid {min(extra)} dev {subject.rpartition(' ')[2]}",
        )


def _sandbox(site: Site, want: SandboxState, seen: Link, mac: str) -> Iterator[Difference]:
    subject = f"interface {seen.name}"
    if mac and mac != seen.mac:
        yield Difference(subject, f"its MAC is {seen.mac}, not {mac}")
    if want.up and not seen.up:
        yield Difference(subject, "it is down")
    if not want.layer3:
        return
    found = {cidr_of(each): each for each in site.inside.addresses(seen.index)}
    for address in want.addresses:
        if address not in found:
            yield Difference(subject, f"it lacks address {address}")
        elif found[address].dad_failed:
            yield Difference(subject, f"address {address} is a duplicate of another host's")
    routes = site.inside.routes()
    for route in want.routes:
        if not any(_same_route(route, each) for each in routes):
            hop = f" by {route.gw}" if route.gw else ""
            yield Difference(subject, f"the route to {route.dst}{hop} is missing")
    if want.duplicate_detection:
        yield from _dad(site, want.ifname)


def _same_route(want: RouteConfig, seen: Route) -> bool:
    # A later plugin may have moved it to a table of its own, so the table is not compared
    # unless it was asked for.
    destination = "default" if want.dst.is_default else str(want.dst.network)
    return (
        seen.family == (2 if want.dst.version == 4 else 10)
        and seen.destination in {destination, str(want.dst.network)}
        and (not want.gw or seen.gateway == want.gw)
        and (want.table is None or seen.table == want.table)
    )


def _dad(site: Site, ifname: IfName) -> Iterator[Difference]:
    name = f"net/ipv6/conf/{ifname}/accept_dad"
    if site.entered.read_sysctl(name) == "0":
        yield Difference(f"interface {ifname}", "duplicate address detection is off")


def _gateway(site: Site, want: GatewayState, bridge: Link) -> Iterator[Difference]:
    subject = f"gateway {want.device}"
    device = site.node.link(want.device)
    if device is None:
        yield Difference(subject, "it does not exist")
        return
    if not device.up:
        yield Difference(subject, "it is down", f"run: ip link set {want.device} up")
    if want.port is not None:
        port = vlan_port(site, want, bridge, device)
        if port is not None:
            if not port.up:
                yield Difference(f"host port {port.name}", "it is down")
            vlans = site.node.port_vlans(port.index)
            yield from _vlans(f"host port {port.name}", want.port, vlans)
    found = {cidr_of(each) for each in site.node.addresses(device.index)}
    for address in want.addresses:
        if address not in found:
            yield Difference(
                subject,
                f"it lacks address {address}",
                f"run: ip addr add {address} dev {want.device}",
            )
    for family in want.families:
        name = FORWARDING[family]
        if site.host.read_sysctl(name) == "0":
            yield Difference(
                f"forwarding of IPv{family}",
                "it is off",
                f"run: sysctl -w {name.replace('/', '.')}=1",
            )
