# SPDX-License-Identifier: Apache-2.0
"""
A node as it was observed: all that ``doctor`` judges, as data.

Links are told apart by name, as an administrator does; everything is of one network
namespace unless said otherwise. It can be written to a file and judged elsewhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from spanbridge.base.errors import DecodeError
from spanbridge.model.compact import parse_compact, render_compact
from spanbridge.model.reader import parse_object

VERSION: Final = 1
"""Of the saved form; another one is refused."""


@dataclass(frozen=True, slots=True)
class VlanEntry:
    """
    VLANs of a bridge port that are treated alike.

    Attributes:
        first: VLAN id.
        last: The same as ``first`` for a single VLAN.
        pvid: Untagged frames that come in belong to it.
        untagged: Frames go out without a tag.
    """

    first: int
    last: int
    pvid: bool = False
    untagged: bool = False

    def __contains__(self, vid: int) -> bool:
        return self.first <= vid <= self.last

    def __str__(self) -> str:
        span = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return " ".join([span, *(["PVID"] if self.pvid else []), *self._untagged()])

    def _untagged(self) -> list[str]:
        return ["untagged"] if self.untagged else []


@dataclass(frozen=True, slots=True)
class LinkState:
    """
    A network interface.

    Attributes:
        name: At most 15 bytes.
        kind: ``bridge``, ``veth``, ``vlan`` and so on; empty for hardware and loopback.
        mac: Hex octets joined by colons; empty where it has none.
        mtu: Bytes.
        up: It is set up.
        carrier: The cable is in, and the other end is up.
        operstate: As the kernel spells it, in lower case.
        master: The bridge or bond that it is a port of; empty for none.
        lower: The device below a VLAN's interface, or the peer of a veth, when it is in
            the same namespace; empty otherwise.
        vlan_id: Of an interface of kind ``vlan``; else 0.
        alias: Free text; ours begins with a tag, see `spanbridge.model.owner`.
        loopback: It is ``lo``.
        addresses: With their prefix lengths, link-local ones left out.
        vlans: As port of a bridge, or as the bridge itself.
        vlan_filtering: Of a bridge; None for other links.
        default_pvid: Of a bridge: the VLAN that a new port gets, 0 for none.
        forwarding: Of a bridge port: spanning tree lets frames pass.
    """

    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 1500
    up: bool = True
    carrier: bool = True
    operstate: str = "up"
    master: str = ""
    lower: str = ""
    vlan_id: int = 0
    alias: str = ""
    loopback: bool = False
    addresses: tuple[str, ...] = ()
    vlans: tuple[VlanEntry, ...] = ()
    vlan_filtering: bool | None = None
    default_pvid: int = 0
    forwarding: bool = True

    def carries(self, vid: int) -> bool:
        """Tell whether frames of a VLAN may pass this port."""
        return any(vid in each for each in self.vlans)


@dataclass(frozen=True, slots=True)
class RouteState:
    """
    A route of the main table.

    Attributes:
        destination: With prefix length; ``default`` for all.
        device: Outgoing link; empty where there are several.
        gateway: Empty for a route on the link.
    """

    destination: str
    device: str
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class ConfState:
    """
    A network configuration that was found.

    Attributes:
        origin: The file, or the attachment that was made with it.
        text: One plugin's configuration in JSON; empty where it could not be read.
        fault: Why it could not be read; empty otherwise.
        given: It was named on the command line.
    """

    origin: str
    text: str = ""
    fault: str = ""
    given: bool = False


@dataclass(frozen=True, slots=True)
class AttachmentState:
    """
    An attachment in the agent's journal.

    Attributes:
        network: Name of the network.
        container_id: CNI_CONTAINERID.
        ifname: CNI_IFNAME.
        netns: CNI_NETNS.
        here: Its bridge is in the namespace that was observed.
        addresses: That ADD answered, with their prefix lengths.
        gateways: That ADD answered.
        stale: Why its sandbox counts as gone; empty while it lives.
        pod_mtu: Bytes, of the interface in the sandbox; 0 where it could not be seen.
    """

    network: str
    container_id: str
    ifname: str
    netns: str = ""
    here: bool = True
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    stale: str = ""
    pod_mtu: int = 0


@dataclass(frozen=True, slots=True)
class LeaseState:
    """
    A DHCP lease that the agent keeps.

    Attributes:
        network: Name of the network.
        container_id: CNI_CONTAINERID.
        ifname: CNI_IFNAME.
        state: Of the client, as RFC 2131 figure 5 names it, in lower case.
        address: With its prefix length; empty for none.
        server: Who gave it.
        renew_in_s: Seconds from the observation; negative when it is over, None for never.
        expires_in_s: The same for its end.
    """

    network: str
    container_id: str
    ifname: str
    state: str
    address: str = ""
    server: str = ""
    renew_in_s: float | None = None
    expires_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class AgentState:
    """
    The node agent.

    Attributes:
        socket: Where it was asked.
        answers: It did.
        fault: Why it did not.
        version: Of the agent's package.
        run_dir: Its locks.
        state_dir: Its journals.
        service: A systemd unit of it is installed.
        journal_fault: Why the journal could not be read; empty when it was.
        attachments: Of the journal, the oldest first.
        leases: As the agent tells them.
    """

    socket: str
    answers: bool = False
    fault: str = ""
    version: str = ""
    run_dir: str = ""
    state_dir: str = ""
    service: bool = False
    journal_fault: str = ""
    attachments: tuple[AttachmentState, ...] = ()
    leases: tuple[LeaseState, ...] = ()


@dataclass(frozen=True, slots=True)
class ProgramState:
    """
    A CNI program.

    Attributes:
        path: Where it is, or ought to be.
        kind: ``shim``, ``oneshot``, ``foreign`` or ``missing``.
        current: A shim of the very build of this package; True for what is no shim.
        oneshot: What a shim executes without an agent; empty for nothing.
        oneshot_there: That file is there and executable.
    """

    path: str
    kind: str
    current: bool = True
    oneshot: str = ""
    oneshot_there: bool = False


@dataclass(frozen=True, slots=True)
class UplinkRecord:
    """
    An uplink that ``spanbridge uplink ensure`` was asked for.

    Attributes:
        device: The device.
        bridge: The bridge.
        vlans: That it was asked to carry.
        mtu: Bytes; 0 for none asked.
    """

    device: str
    bridge: str
    vlans: tuple[VlanEntry, ...] = ()
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class ProbeState:
    """
    Who answered for an address on the network behind an uplink.

    Attributes:
        device: The uplink that was asked on; none of this node's pods hears that.
        vlan: Tag of the question; 0 for none.
        address: What was asked for.
        macs: Who answered, in the order of their text.
        fault: Why nothing could be asked; empty otherwise.
    """

    device: str
    vlan: int
    address: str
    macs: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class NodeState:
    """
    One observation.

    Attributes:
        node: Name of the machine.
        taken_s: Wall clock, in seconds since 1970.
        package_version: Of the package that observed.
        links: In the order of their indices.
        routes: Of the main table.
        sysctls: By name, with slashes; absent where there is none.
        confs: Network configurations.
        agent: The node agent.
        programs: CNI programs.
        uplinks: That were asked for.
        sockets: Sockets that configurations name, and whether somebody listens.
        free_bytes: In the state directory's file system; None where there is none.
        dropping: Names of firewall chains that drop forwarded frames by default.
        probes: Answers to ARP probes.
        unprobed: Why none were sent; empty when they were.
    """

    node: str
    taken_s: float
    package_version: str
    links: tuple[LinkState, ...]
    agent: AgentState
    routes: tuple[RouteState, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    confs: tuple[ConfState, ...] = ()
    programs: tuple[ProgramState, ...] = ()
    uplinks: tuple[UplinkRecord, ...] = ()
    sockets: Mapping[str, bool] = field(default_factory=dict)
    free_bytes: int | None = None
    dropping: tuple[str, ...] = ()
    probes: tuple[ProbeState, ...] = ()
    unprobed: str = ""

    def link(self, name: str) -> LinkState | None:
        """Find a link by name."""
        return next((each for each in self.links if each.name == name), None)

    def ports(self, bridge: str) -> tuple[LinkState, ...]:
        """List the ports of a bridge."""
        return tuple(each for each in self.links if each.master == bridge)


def render_node_state(state: NodeState) -> str:
    """Make the content of a file."""
    return json.dumps({"version": VERSION} | render_compact(state), indent=1) + "\n"


def parse_node_state(data: bytes, what: str = "the saved state") -> NodeState:
    """
    Read the content of a file.

    Args:
        data: As `render_node_state` makes it.
        what: How messages call it.

    Raises:
        DecodeError: It is no saved state, or one of another version.
        ConfigError: A field is missing, unknown or of the wrong type.
    """
    root = parse_object(data, what)
    if root.raw.get("version") != VERSION:
        raise DecodeError(
            f"cannot decode {what}: its version is {root.raw.get('version')!r}",
            hint=f"{VERSION} is read; save it again with `spanbridge doctor --save FILE`",
        )
    document = {key: value for key, value in root.raw.items() if key != "version"}
    return parse_compact(NodeState, document)
