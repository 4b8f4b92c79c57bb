# SPDX-License-Identifier: Apache-2.0
"""What is judged: a node's state, and for each bridge what its networks want of it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.base.names import IfName, VlanId
from spanbridge.model.netconf import NetConf, VlanRange, merge_ranges, parse_netconf
from spanbridge.model.node_state import AttachmentState, ConfState, LinkState, NodeState
from spanbridge.model.owner import PREFIX, Owner
from spanbridge.model.reader import parse_object
from spanbridge.model.repair import Span

PLUGIN_TYPES: Final = frozenset({"bridge", "cnv-bridge"})
"""Names under which clusters run the bridge plugin."""

GATEWAY_PORT: Final = f"{PREFIX}gateway port of "
"""How the alias of a VLAN gateway's bridge port begins; its interface's name follows."""

_POD_PORT: Final = re.compile(r"veth[0-9a-f]{8}")
"""What this plugin and the reference plugin call the host port of a pod."""

_GUEST_KINDS: Final = frozenset({"tun", "macvtap"})
"""Ports that belong to virtual machines."""


@dataclass(frozen=True, slots=True)
class Options:
    """
    What an administrator said on the command line.

    Attributes:
        bridge: Only this one; empty for all.
        uplink: The device that leads to the other nodes; empty to find it.
        vlan: It has to be carried, whatever configurations say; 0 for none.
    """

    bridge: str = ""
    uplink: str = ""
    vlan: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """
    A configuration of the bridge plugin.

    Attributes:
        origin: Where it was found.
        conf: Complete and checked.
        uplink: The device it names as uplink; empty for none.
        given: It was named on the command line.
    """

    origin: str
    conf: NetConf
    uplink: str
    given: bool


@dataclass(frozen=True, slots=True)
class OurPort:
    """
    A bridge port that this plugin made.

    Attributes:
        link: The port.
        what: For messages: whose it is.
        network: Whose configuration is known; None otherwise.
        device: Of a gateway's port, the interface behind it; empty for a pod's.
        attachment: In the agent's journal; None where there is none.
    """

    link: LinkState
    what: str
    network: Network | None
    device: str = ""
    attachment: AttachmentState | None = None


class BridgeCase:
    """
    One bridge.

    Args:
        case: The node.
        name: Of the bridge.
        networks: Those whose bridge it is.
    """

    def __init__(self, case: "Case", name: str, networks: tuple[Network, ...]) -> None:
        self.case = case
        self.state = case.state
        self.name = name
        self.networks = networks
        self.subject = f"bridge {name}"

    @cached_property
    def link(self) -> LinkState | None:
        """The bridge; None when it is not there, or no bridge."""
        found = self.state.link(self.name)
        return found if found is not None and found.kind == "bridge" else None

    @cached_property
    def vlans(self) -> tuple[VlanRange, ...]:
        """VLANs that have to reach the other nodes."""
        wanted = [VlanRange(VlanId(v), VlanId(v)) for v in self._access_vlans()]
        wanted += [each for one in self.networks for each in one.conf.trunk or ()]
        return merge_ranges(wanted)

    def _access_vlans(self) -> Iterator[int]:
        yield from (one.conf.vlan for one in self.networks if one.conf.vlan)
        if self.case.options.vlan:
            yield self.case.options.vlan

    @property
    def uses_vlans(self) -> bool:
        """Whether the bridge has to filter VLANs."""
        return bool(self.case.options.vlan) or any(one.conf.uses_vlans for one in self.networks)

    @property
    def needs_uplink(self) -> bool:
        """
        Whether something has to lead to the other nodes.

        A network without VLAN that names no uplink may be meant for one node alone, as
        container runtimes bring one along.
        """
        asked = self.case.options.bridge == self.name or bool(self.named_uplink)
        return asked or self.uses_vlans

    @cached_property
    def named_uplink(self) -> str:
        """The uplink's name: of the command line, a configuration, or a record; or empty."""
        named = [self.case.options.uplink, *(one.uplink for one in self.networks)]
        named += [one.device for one in self.state.uplinks if one.bridge == self.name]
        return next((each for each in named if each), "")

    @cached_property
    def ports(self) -> tuple[OurPort, ...]:
        """Ports that this plugin made."""
        links = self.state.ports(self.name)
        return tuple(each for each in map(self._our_port, links) if each is not None)

    def _our_port(self, link: LinkState) -> OurPort | None:
        if link.alias.startswith(GATEWAY_PORT):
            device = link.alias.removeprefix(GATEWAY_PORT)
            return OurPort(link, f"the gateway {device}", None, device=device)
        words = link.alias.split(" ")
        if not link.alias.startswith(PREFIX) or len(words) < 5:
            return None
        network, container_id, ifname = words[2:5]
        return OurPort(
            link,
            f"{ifname} of container {container_id} on {network}",
            next((one for one in self.networks if one.conf.name == network), None),
            attachment=self.case.attachment(link.alias),
        )

    @cached_property
    def strangers(self) -> tuple[LinkState, ...]:
        """Ports of others: uplinks, pods of other plugins, virtual machines."""
        ours = {port.link.name for port in self.ports}
        return tuple(each for each in self.state.ports(self.name) if each.name not in ours)

    @cached_property
    def uplink(self) -> LinkState | None:
        """The port that leads to the other nodes; None where there is none."""
        if self.named_uplink:
            named = self.state.link(self.named_uplink)
            return named if named is not None and named.master == self.name else None
        found = sorted(filter(is_uplink_like, self.strangers), key=_likeness)
        return found[0] if found else None

    @property
    def filters(self) -> bool:
        """Whether the bridge is there and filters VLANs."""
        return self.link is not None and bool(self.link.vlan_filtering)


def is_uplink_like(link: LinkState) -> bool:
    """Tell whether a link may lead out of the node, by what it is."""
    if link.loopback or link.kind in _GUEST_KINDS or link.kind == "bridge":
        return False
    if link.kind != "veth":
        return True
    # A lab's node has a veth as its uplink; its other end is elsewhere.
    return not link.alias.startswith(PREFIX) and not link.lower and not _is_pod_port(link)


def _is_pod_port(link: LinkState) -> bool:
    return _POD_PORT.fullmatch(link.name) is not None


def _likeness(link: LinkState) -> tuple[bool, bool, str]:
    return link.kind == "veth", not (link.up and link.carrier), link.name


class Case:
    """
    One node, with what is wanted of it.

    Args:
        state: As it was observed.
        options: Of the command line.
    """

    def __init__(self, state: NodeState, options: Options) -> None:
        self.state = state
        self.options = options
        self.faults: list[tuple[ConfState, str]] = []
        """Configurations that cannot be read, and why."""
        self.networks = tuple(self._parse(state.confs))
        self._attachments = {
            Owner.of(each.network, each.container_id, each.ifname).tag: each
            for each in state.agent.attachments
        }

    def _parse(self, confs: Iterable[ConfState]) -> Iterator[Network]:
        seen: set[tuple[str, str]] = set()
        for conf in confs:
            if conf.fault:
                self.faults.append((conf, conf.fault))
                continue
            try:
                network = _parse_network(conf)
            except InputError as exc:
                self.faults.append((conf, exc.message))
                continue
            if network is None or (key := (network.conf.name, network.conf.bridge)) in seen:
                continue
            seen.add(key)
            yield network

    def attachment(self, alias: str) -> AttachmentState | None:
        """Find the attachment of a port, by the tag that its alias begins with."""
        return self._attachments.get(alias.split(" ", 1)[0])

    @cached_property
    def bridges(self) -> tuple[BridgeCase, ...]:
        """Bridges to look at, in the order of their names."""
        names = {one.conf.bridge for one in self.networks}
        names |= {IfName(each.master) for each in self.state.links if _is_ours(each)}
        if self.options.bridge:
            names = {IfName(self.options.bridge)}
        return tuple(
            BridgeCase(self, name, tuple(one for one in self.networks if one.conf.bridge == name))
            for name in sorted(names)
        )

    @property
    def wants_dhcp(self) -> tuple[Network, ...]:
        """Networks whose addresses come from a DHCP server."""
        ipams = ((one, one.conf.ipam) for one in self.networks)
        return tuple(one for one, ipam in ipams if ipam is not None and ipam.type == "dhcp")


def _is_ours(link: LinkState) -> bool:
    return bool(link.master) and link.alias.startswith(PREFIX)


def _parse_network(conf: ConfState) -> Network | None:
    root = parse_object(conf.text.encode(), conf.origin)
    if root.text("type") not in PLUGIN_TYPES:
        return None
    parsed = parse_netconf(root)
    return Network(conf.origin, parsed, parsed.uplink or "", conf.given)


def spans(ranges: Iterable[VlanRange]) -> tuple[Span, ...]:
    """Turn ranges of VLANs into what repairs take."""
    return tuple((each.first, each.last) for each in ranges)


def spell(ranges: Iterable[VlanRange]) -> str:
    """Name VLANs in a message: ``VLAN 2``, ``VLANs 2, 10-20``."""
    listed = [str(each) for each in ranges]
    several = len(listed) > 1 or any("-" in each for each in listed)
    return f"VLAN{'s' if several else ''} {', '.join(listed)}"
