# SPDX-License-Identifier: Apache-2.0
"""
The network configuration of the ``bridge`` plugin, complete and checked.

Source: CNI specification 1.1.0, section 1, and the documentation of the CNI project's
bridge plugin, version 1.9.1.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import CallError, ConfigError
from spanbridge.base.names import (
    VLAN_MAX,
    IfName,
    MacAddress,
    NetworkName,
    VlanId,
    ifname_fault,
    is_identifier,
)
from spanbridge.model.addresses import parse_mac
from spanbridge.model.reader import Node, UnknownKey, as_node, parse_object
from spanbridge.model.result import CniResult, Dns, parse_dns, parse_result
from spanbridge.model.version import parse_version

DEFAULT_BRIDGE: Final = "cni0"

MTU_MIN: Final = 68
"""Bytes. Source: linux/if_ether.h, ETH_MIN_MTU."""

MTU_MAX: Final = 65535
"""Bytes. Source: linux/if_ether.h, ETH_MAX_MTU, the limit of veth and bridge."""

MTU_MIN_IPV6: Final = 1280
"""Bytes. Source: RFC 8200 section 5."""

_BACKENDS: Final = ("iptables", "nftables")

SCOPE_NODE: Final = "node"
SCOPE_NETWORK: Final = "network"
_SCOPES: Final = (SCOPE_NODE, SCOPE_NETWORK)
"""Where ARP and neighbour discovery for the gateway's address may pass; the first by default."""

_READ_ELSEWHERE: Final = (
    "type", "capabilities", "args", "runtimeConfig", "prevResult", "ipam", "disableCheck",
    "disableGC", "loadOnlyInlinedPlugins", "cni.dev/valid-attachments", "cni.dev/attachments",
    "cniVersions", "keepAddressOnDown",
    "spanbridge.io/ignore",
)  # fmt: skip
"""Keys of the specification that this parser does not read; they are no typos."""


@dataclass(frozen=True, slots=True)
class VlanRange:
    """VLAN ids from ``first`` to ``last``, both included."""

    first: VlanId
    last: VlanId

    def __contains__(self, vid: int) -> bool:
        return self.first <= vid <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class IpamConf:
    """
    The ``ipam`` section; what is in it belongs to the plugin that it names.

    Attributes:
        type: Name of the IPAM plugin; never empty.
        node: The section itself, with pointers.
    """

    type: str
    node: Node


@dataclass(frozen=True, slots=True)
class NetConf:
    """
    One network configuration; every field is checked, every default filled in.

    Attributes:
        cni_version: One of ``version.SUPPORTED``.
        name: Network name.
        type: Plugin name, as written.
        bridge: Name of the bridge; created when missing.
        uplink: Device that becomes a port of the bridge and carries the VLANs; None leaves
            the way outside to somebody else.
        is_gateway: Put the gateway addresses on the bridge and forward; implied by
            ``is_default_gateway``.
        is_default_gateway: Give the sandbox a default route by the bridge.
        gateway_scope: ``node`` keeps ARP and neighbour discovery for the gateway's address
            on the node; ``network`` answers them on the whole network.
        force_address: Replace conflicting addresses of the bridge.
        ip_masq: Masquerade what leaves the network.
        ip_masq_backend: Accepted for compatibility; nftables is always used.
        mtu: Bytes for bridge, host port and sandbox link; 0 leaves the kernel's default.
        hairpin_mode: Let frames leave by the port that they came from.
        promisc_mode: Make the bridge promiscuous.
        vlan: Access VLAN (native VLAN of a trunk) of the host port; 0 is none.
        trunk: Tagged VLANs of the host port, merged and ascending; None when the key
            is absent, while an empty list still turns VLAN filtering on.
        preserve_default_vlan: Keep what the bridge gives to each new port.
        mac_spoof_check: Drop frames whose source MAC is not the sandbox's.
        enable_dad: Detect duplicate IPv6 addresses before they are used.
        disable_container_interface: Leave the sandbox link down.
        port_isolation: Isolated ports talk to the uplink and the gateway only.
        ipam: Address management; None for a layer 2 network.
        dns: Replaces what IPAM answers; None when not given.
        mac: Requested MAC, ``runtimeConfig.mac`` before ``args.cni.mac``.
        previous: ``prevResult``; None when absent.
        unknown: Keys that nobody reads.
        root: The whole document, for IPAM plugins that are built in.
    """

    cni_version: str
    name: NetworkName
    type: str
    bridge: IfName
    uplink: IfName | None
    is_gateway: bool
    is_default_gateway: bool
    gateway_scope: str
    force_address: bool
    ip_masq: bool
    ip_masq_backend: str
    mtu: int
    hairpin_mode: bool
    promisc_mode: bool
    vlan: int
    trunk: tuple[VlanRange, ...] | None
    preserve_default_vlan: bool
    mac_spoof_check: bool
    enable_dad: bool
    disable_container_interface: bool
    port_isolation: bool
    ipam: IpamConf | None
    dns: Dns | None
    mac: MacAddress | None
    previous: CniResult | None
    unknown: tuple[UnknownKey, ...]
    root: Node

    @property
    def uses_vlans(self) -> bool:
        """Tell whether the bridge must filter VLANs."""
        return self.vlan != 0 or self.trunk is not None


def parse_name(root: Node) -> NetworkName:
    """Read ``name``, or raise ``ConfigError``."""
    name = root.text("name")
    if not name:
        raise root.fault("name", "it is missing or empty", 'write for example "name": "migration"')
    if not is_identifier(name):
        raise root.fault(
            "name",
            f"{name!r} holds forbidden characters",
            "start with a letter or digit; go on with letters, digits, '_', '.', '-'",
        )
    return NetworkName(name)


def _parse_bridge(root: Node) -> IfName:
    name = root.text("bridge", DEFAULT_BRIDGE)
    fault = ifname_fault(name)
    if fault:
        raise root.fault("bridge", f"{name!r}: {fault}", 'write for example "bridge": "br-mig"')
    return IfName(name)


def _parse_uplink(root: Node, bridge: IfName) -> IfName | None:
    name = root.text("uplink")
    if not name:
        return None
    fault = ifname_fault(name)
    if not fault and name == bridge:
        fault = "it is the bridge itself"
    if fault:
        raise root.fault(
            "uplink", f"{name!r}: {fault}", 'name the device that leads to the switch: "eth1"'
        )
    return IfName(name)


def _parse_mtu(root: Node) -> int:
    mtu = root.integer("mtu", minimum=0, maximum=MTU_MAX)
    if 0 < mtu < MTU_MIN:
        raise root.fault(
            "mtu", f"{mtu} is out of range", f"write 0 for the default, or {MTU_MIN} to {MTU_MAX}"
        )
    return mtu


def _parse_backend(root: Node) -> str:
    backend = root.text("ipMasqBackend")
    if backend and backend not in _BACKENDS:
        raise root.fault(
            "ipMasqBackend", f"{backend!r} is unknown", f"one of {', '.join(_BACKENDS)}, or omit it"
        )
    return backend


def _parse_gateway_scope(root: Node) -> str:
    scope = root.text("gatewayScope", _SCOPES[0])
    if scope not in _SCOPES:
        raise root.fault(
            "gatewayScope",
            f"{scope!r} is unknown",
            'write "node" (the address stays on each node) or "network" (every node answers for it'
            " on the whole network), or omit it",
        )
    return scope


def _vlan_id(node: Node, key: str) -> VlanId:
    return VlanId(node.integer(key, minimum=1, maximum=VLAN_MAX))


def _parse_trunk_entry(value: object, pointer: str) -> tuple[VlanRange, ...]:
    node = as_node(value, pointer)
    ranges = []
    if node.has("minID") != node.has("maxID"):
        given, missing = ("minID", "maxID") if node.has("minID") else ("maxID", "minID")
        raise node.fault(given, f"{missing} is missing", "write both, or id for a single VLAN")
    if node.has("minID"):
        first, last = _vlan_id(node, "minID"), _vlan_id(node, "maxID")
        if first > last:
            raise node.fault("minID", f"{first} is greater than maxID {last}", "swap the two")
        ranges.append(VlanRange(first, last))
    if node.has("id"):
        vid = _vlan_id(node, "id")
        ranges.append(VlanRange(vid, vid))
    strangers = node.unknown()
    if strangers:
        near = strangers[0].nearest
        raise ConfigError(
            f"cannot use {strangers[0].key!r}: no such key in a trunk entry",
            pointer=strangers[0].pointer,
            hint=f"did you mean {near!r}?" if near else "known are id, minID, maxID",
        )
    if not ranges:
        raise ConfigError(
            "cannot use the trunk entry: it names no VLAN",
            pointer=pointer,
            hint='write {"id": 101} or {"minID": 200, "maxID": 210}',
        )
    return tuple(ranges)


def merge_ranges(ranges: list[VlanRange]) -> tuple[VlanRange, ...]:
    """Unite ranges that overlap or touch; ascending."""
    merged: list[VlanRange] = []
    for each in sorted(ranges, key=lambda one: one.first):
        if merged and each.first <= merged[-1].last + 1:
            merged[-1] = VlanRange(merged[-1].first, max(merged[-1].last, each.last))
        else:
            merged.append(each)
    return tuple(merged)


def _parse_trunk(root: Node) -> tuple[VlanRange, ...] | None:
    if not root.has("vlanTrunk"):
        return None
    entries = root.each("vlanTrunk", _parse_trunk_entry)
    return merge_ranges([each for entry in entries for each in entry])


def is_program_name(text: str) -> bool:
    """Tell whether ``text`` can be looked up in a directory without leaving it."""
    return "/" not in text and text not in {"", ".", ".."} and text.isprintable()


def _parse_ipam(root: Node) -> IpamConf | None:
    node = root.node("ipam")
    kind = node.text("type") if node is not None else ""
    if node is None or not kind:
        return None
    if not is_program_name(kind):
        raise node.fault("type", f"{kind!r} is not a program name", "write it without a path")
    return IpamConf(kind, node)


def _parse_config_mac(root: Node) -> MacAddress | None:
    args = root.node("args")
    for holder in (root.node("runtimeConfig"), args.node("cni") if args else None):
        if holder is not None and holder.text("mac"):
            return parse_mac(holder.text("mac"), holder.at("mac"))
    return None


def _parse_dns_override(root: Node) -> Dns | None:
    dns = parse_dns(root.node("dns"))
    return dns or None


def _refuse_conflicts(conf: NetConf) -> None:
    if conf.disable_container_interface and conf.ipam is not None:
        raise conf.root.fault(
            "disableContainerInterface",
            f"the link stays down, so addresses of ipam {conf.ipam.type!r} cannot be used",
            'remove "ipam", or write "disableContainerInterface": false',
        )
    if conf.hairpin_mode and conf.promisc_mode:
        raise conf.root.fault(
            "hairpinMode",
            "with promiscMode every frame would be delivered twice",
            "keep one of hairpinMode and promiscMode",
        )
    if conf.vlan and conf.is_gateway and conf.ipam is not None:
        device = f"{conf.bridge}.{conf.vlan}"
        if ifname_fault(device):
            raise conf.root.fault(
                "bridge",
                f"the gateway's interface would be {device!r}: {ifname_fault(device)}",
                f"shorten the bridge's name to {15 - len(f'.{conf.vlan}')} bytes",
            )


@functools.lru_cache(maxsize=64)
def parse_netconf(root: Node) -> NetConf:
    """
    Read and check a whole configuration; once, where the same document comes again.

    Raises:
        VersionError, DecodeError, ConfigError: The first fault found.
    """
    version = parse_version(root)
    is_default_gateway = root.flag("isDefaultGateway")
    bridge = _parse_bridge(root)
    conf = NetConf(
        cni_version=version,
        name=parse_name(root),
        type=root.text("type"),
        bridge=bridge,
        uplink=_parse_uplink(root, bridge),
        is_gateway=root.flag("isGateway") or is_default_gateway,
        is_default_gateway=is_default_gateway,
        gateway_scope=_parse_gateway_scope(root),
        force_address=root.flag("forceAddress"),
        ip_masq=root.flag("ipMasq"),
        ip_masq_backend=_parse_backend(root),
        mtu=_parse_mtu(root),
        hairpin_mode=root.flag("hairpinMode"),
        promisc_mode=root.flag("promiscMode"),
        vlan=root.integer("vlan", minimum=0, maximum=VLAN_MAX),
        trunk=_parse_trunk(root),
        preserve_default_vlan=root.flag("preserveDefaultVlan"),
        mac_spoof_check=root.flag("macspoofchk"),
        enable_dad=root.flag("enabledad"),
        disable_container_interface=root.flag("disableContainerInterface"),
        port_isolation=root.flag("portIsolation"),
        ipam=_parse_ipam(root),
        dns=_parse_dns_override(root),
        mac=_parse_config_mac(root),
        previous=_parse_previous(root),
        unknown=root.unknown(*_READ_ELSEWHERE),
        root=root,
    )
    _refuse_conflicts(conf)
    return conf


def _parse_previous(root: Node) -> CniResult | None:
    node = root.node("prevResult")
    return None if node is None else parse_result(node)


def parse_netconf_bytes(data: bytes) -> NetConf:
    """Decode and read a configuration as it comes on standard input."""
    return parse_netconf(parse_object(data))


def parse_valid_attachments(root: Node) -> frozenset[tuple[str, str]]:
    """
    Read what GC must keep: pairs of container id and interface name.

    The list is required: without it "nothing is valid" and "nothing was said" would
    look the same, and the first deletes everything. An empty list is meaningful.

    Raises:
        ConfigError: Absent or malformed.

    Source: CNI specification 1.1.0, section 2, GC; libcni may write the older key
    ``cni.dev/attachments`` as well.
    """
    for key in ("cni.dev/valid-attachments", "cni.dev/attachments"):
        if root.has(key):
            return frozenset(root.each(key, _parse_attachment))
    raise root.fault(
        "cni.dev/valid-attachments", "it is missing", "the runtime lists what is still in use"
    )


def _parse_attachment(value: object, pointer: str) -> tuple[str, str]:
    node = as_node(value, pointer)
    container_id, ifname = node.text("containerID"), node.text("ifname")
    if not container_id or not ifname:
        raise ConfigError(
            "cannot use the attachment: containerID or ifname is missing", pointer=pointer
        )
    return container_id, ifname


def requested_mac(conf: NetConf, args: Mapping[str, str]) -> MacAddress | None:
    """
    Choose among the MACs asked for: runtimeConfig, then args.cni, then CNI_ARGS.

    Raises:
        CallError: CNI_ARGS names a MAC that cannot be used.
    """
    if conf.mac is not None or not args.get("MAC"):
        return conf.mac
    try:
        return parse_mac(args["MAC"], "")
    except ConfigError as exc:
        raise CallError(f"{exc.message} (CNI_ARGS MAC)", hint=exc.hint) from exc
