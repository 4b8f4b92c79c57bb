# SPDX-License-Identifier: Apache-2.0
"""Rules about address management in one configuration."""

from collections.abc import Iterator
from typing import Final

from spanbridge.model.addresses import Ip, parse_cidr
from spanbridge.model.findings import Severity
from spanbridge.model.netconf import DEFAULT_BRIDGE
from spanbridge.model.reader import nearest_key
from spanbridge.model.spans import Span
from spanbridge.stretch.lint.networks import BRIDGE_TYPES, Plugin
from spanbridge.stretch.lint.pools import Pool
from spanbridge.stretch.lint.registry import HYPERCONVERGED, Hit, Rule, Spot, conf, nad
from spanbridge.stretch.lint.views import as_object

_LINK_LOCAL: Final = (parse_cidr("169.254.0.0/16", ""), parse_cidr("fe80::/10", ""))

_PLUGIN_TYPES: Final = (
    "bridge", "cnv-bridge", "macvlan", "ipvlan", "vlan", "host-device", "ptp", "loopback", "tap",
    "dummy", "sriov", "ovs", "ib-sriov", "tuning", "cnv-tuning", "portmap", "bandwidth", "firewall",
    "sbr", "vrf", "flannel", "multus", "multus-shim", "route-override", "ovn-k8s-cni-overlay",
    "cilium-cni", "calico", "rdma", "userspace", "bond", "antrea", "kube-ovn", "whereabouts",
)  # fmt: skip
_IPAM_TYPES: Final = (
    "host-local", "static", "dhcp", "whereabouts", "calico-ipam", "kube-ovn", "antrea",
)  # fmt: skip


def no_type(plugin: Plugin) -> Iterator[Hit]:
    """Find plugins without a type."""
    if not plugin.type:
        at = "type" if "type" in plugin.raw else ""
        spot = plugin.spot("type") if at else Spot(plugin.document, plugin.pointer)
        yield Hit("no plugin is named", spot)


def mistyped_type(plugin: Plugin) -> Iterator[Hit]:
    """Find names of plugins that resemble a known one."""
    for kind, known, pointer in (
        (plugin.type, _PLUGIN_TYPES, plugin.root.at("type")),
        (plugin.ipam.type, _IPAM_TYPES, plugin.ipam.node.at("type") if plugin.ipam.node else ""),
    ):
        near = nearest_key(kind, known) if kind and kind not in known else ""
        if near:
            message = f"no plugin is known by the name {kind!r}: did you mean {near!r}?"
            yield Hit(message, Spot(plugin.document, pointer), remedy=f"write {near!r}")


def old_plugin_name(plugin: Plugin) -> Iterator[Hit]:
    """Find the older name of the bridge plugin."""
    if plugin.type == "cnv-bridge":
        yield Hit("cnv-bridge is an older name of the bridge plugin", plugin.spot("type"))


def no_addresses(plugin: Plugin) -> Iterator[Hit]:
    """Find migration networks whose pods get no address."""
    if not plugin.migration or plugin.ipam.type or plugin.type not in {*BRIDGE_TYPES, "macvlan"}:
        return
    if "ipam" in plugin.raw and not isinstance(plugin.raw["ipam"], dict):
        return
    yield Hit("the pods of the migration network get no address",
              plugin.spot("ipam" if "ipam" in plugin.raw else "type", at_key=True))  # fmt: skip


def link_local(plugin: Plugin) -> Iterator[Hit]:
    """Find ranges that KubeVirt does not take for addresses."""
    for pool in plugin.ipam.pools:
        if plugin.nad is not None and any(pool.subnet.overlaps(each) for each in _LINK_LOCAL):
            message = f"{pool.subnet} is link-local"
            yield Hit(message, Spot(plugin.document, pool.pointer))


def per_node_range(plugin: Plugin) -> Iterator[Hit]:
    """Find host-local in a manifest, where one range serves every node."""
    if plugin.nad is not None and plugin.ipam.type == "host-local" and plugin.stretched:
        if as_object(plugin.raw.get("capabilities")).get("ipRanges"):
            return
        yield Hit(
            f"host-local hands out the same addresses on every node of {plugin.label}",
            Spot(plugin.document, plugin.root.at("ipam"), at_key=True),
            severity=Severity.ERROR if plugin.migration else None,
        )


def one_address_for_all(plugin: Plugin) -> Iterator[Hit]:
    """Find static addresses in a manifest, where every pod gets them."""
    if plugin.nad is None or plugin.ipam.type != "static" or not plugin.ipam.pools:
        return
    if as_object(plugin.raw.get("capabilities")).get("ips"):
        return
    yield Hit(
        f"every pod of {plugin.label} gets the address {plugin.ipam.pools[0].span.first}",
        Spot(plugin.document, plugin.ipam.pools[0].pointer),
        severity=Severity.ERROR if plugin.migration else None,
    )


def no_dhcp_server(plugin: Plugin) -> Iterator[Hit]:
    """Find dhcp on a bridge on which no server can be."""
    if plugin.type in BRIDGE_TYPES and plugin.ipam.type == "dhcp":
        default = plugin.conf is not None and plugin.conf.bridge == DEFAULT_BRIDGE
        if default and not plugin.root.has("uplink"):
            message = f"no DHCP server can be reached: {DEFAULT_BRIDGE} has no uplink"
            yield Hit(message, Spot(plugin.document, plugin.root.at("ipam"), at_key=True))


def _gives(pool: Pool, ip: Ip) -> bool:
    return ip in pool.span and not any(ip in each for each in pool.excluded)


def gateway_in_pool(plugin: Plugin) -> Iterator[Hit]:
    """Find gateways that pods may be given as their own address."""
    if plugin.ipam.type not in {"whereabouts", "static"}:
        return
    for pool in plugin.ipam.pools:
        if pool.gateway is not None and _gives(pool, pool.gateway):
            message = f"the gateway {pool.gateway} is one of the addresses for pods"
            yield Hit(message, Spot(plugin.document, pool.gateway_pointer))


def exclude_outside(plugin: Plugin) -> Iterator[Hit]:
    """Find exclusions that exclude nothing."""
    if plugin.ipam.type != "whereabouts" or plugin.ipam.node is None:
        return
    for node in (plugin.ipam.node, *(plugin.ipam.node.nodes("ipRanges") or ())):
        for pool in plugin.ipam.pools:
            if pool.pointer != node.at("range"):
                continue
            for number, span in enumerate(pool.excluded):
                if not _meets(span, pool):
                    pointer = f"{node.at('exclude')}/{number}"
                    message = f"{span} is outside of {pool.subnet}"
                    yield Hit(message, Spot(plugin.document, pointer))


def _meets(span: Span, pool: Pool) -> bool:
    return span.first in pool.subnet or pool.span.overlaps(span)


def fixed_mac(plugin: Plugin) -> Iterator[Hit]:
    """Find one MAC for every pod."""
    args = as_object(as_object(plugin.raw.get("args")).get("cni"))
    if plugin.conf is not None and plugin.conf.mac is not None and args.get("mac"):
        message = f"every pod of {plugin.label} gets the MAC {plugin.conf.mac}"
        yield Hit(message, plugin.spot("args", "cni", "mac"))


_POOL: Final = '"range": "10.88.0.0/24", "range_start": "10.88.0.10", "range_end": "10.88.0.99"'

_CONFIG: Final = """\
{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-mig", "vlan": 2,
 "preserveDefaultVlan": false,
 "ipam": %s}
"""

_GOOD: Final = '{"type": "whereabouts", ' + _POOL + "}"


def _manifest(ipam: str) -> dict[str, str]:
    return nad(_CONFIG % ipam)


def _migration(ipam: str) -> dict[str, str]:
    return {"hyperconverged.yaml": HYPERCONVERGED, **_manifest(ipam)}


_LAN: Final = """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "type": "bridge",
  "bridge": "br-lan"
}
"""

_LOCAL: Final = '{"type": %s"%s", "subnet": "10.9.0.0/24"}'
_EDGE: Final = '{"type": "whereabouts", "range": "10.88.0.0/24", "gateway": %s,\n  "exclude": [%s]}'

PLUGIN_RULES: Final = (
    Rule(
        code="SB051",
        name="no-addresses",
        severity=Severity.ERROR,
        summary="The migration network has no address management",
        consequence="virt-handler finds migration0 without a global address and ends at once:"
        " CrashLoopBackOff on every node, and no migration at all.",
        remedy='add "ipam", for example whereabouts with a range of this cluster\'s own',
        check=no_addresses,
        wrong={
            "hyperconverged.yaml": HYPERCONVERGED,
            **nad((_CONFIG % "X").replace(',\n "ipam": X', "").replace('"type"', '▶"type"')),
        },
        right=_migration(_GOOD),
        rows=(5,),
    ),
    Rule(
        code="SB052",
        name="link-local-range",
        severity=Severity.ERROR,
        summary="The range is link-local",
        consequence="KubeVirt takes global addresses only: virt-handler ends at once, as without"
        " any address; and link-local addresses are never routed.",
        remedy="choose a private range, such as 10.88.0.0/24 or fd00:88::/64",
        check=link_local,
        wrong=_manifest('{"type": "whereabouts", "range": ▶"169.254.7.0/24"}'),
        right=_manifest(_GOOD),
        rows=(5,),
    ),
    Rule(
        code="SB053",
        name="one-range-on-every-node",
        severity=Severity.WARNING,
        summary="host-local in a manifest for a network that goes beyond the node",
        consequence="host-local counts on each node by itself: the first pod of every node gets"
        " the same address.",
        remedy="use whereabouts or dhcp, or a configuration with a range of its own on each node",
        check=per_node_range,
        wrong=nad(
            (_CONFIG % '{"type": "host-local", "subnet": "10.88.0.0/24"}').replace(
                '"ipam"', '▶"ipam"'
            )
        ),
        right=_manifest(_GOOD),
        rows=(9, 10),
    ),
    Rule(
        code="SB054",
        name="one-address-for-all",
        severity=Severity.WARNING,
        summary="A static address in a manifest",
        consequence="Every pod that uses the manifest gets the same address; of virt-handlers,"
        " one is reached, now this and now that.",
        remedy="use whereabouts or dhcp, or a manifest for each pod",
        check=one_address_for_all,
        wrong=_manifest('{"type": "static", "addresses": [{"address": ▶"10.88.0.5/24"}]}'),
        right=_manifest(_GOOD),
        rows=(9, 10),
    ),
    Rule(
        code="SB055",
        name="no-dhcp-server",
        severity=Severity.ERROR,
        summary="dhcp on the default bridge",
        consequence="The plugin makes the bridge, and nothing else is on it: DHCP is never"
        " answered, and pods stay in ContainerCreating. With the reference plugin each ADD waits"
        " minutes before it fails.",
        remedy='write "bridge": "br-mig", a bridge by whose uplink the server is reached in this'
        " VLAN",
        check=no_dhcp_server,
        wrong=conf(_LAN.replace('"br-lan"', '"cni0",\n  ▶"ipam": {"type": "dhcp"}')),
        right=conf(_LAN.replace('"br-lan"', '"br-lan",\n  "ipam": {"type": "dhcp"}')),
        rows=(12, 14),
    ),
    Rule(
        code="SB056",
        name="gateway-in-pool",
        severity=Severity.ERROR,
        summary="The gateway's address is one of those handed out",
        consequence="Some pod gets the router's address: the network loses its router as soon as"
        " the pod starts.",
        remedy="exclude it, or let the range begin behind it",
        check=gateway_in_pool,
        wrong=_manifest(_EDGE % ('▶"10.88.0.1"', '"10.88.0.9/32"')),
        right=_manifest(_EDGE % ('"10.88.0.1"', '"10.88.0.1/32"')),
        rows=(11,),
    ),
    Rule(
        code="SB059",
        name="exclude-outside",
        severity=Severity.WARNING,
        summary="An exclusion lies outside of the range",
        consequence="It excludes nothing; what was to be kept free is handed out.",
        remedy="write an address or network of the range",
        check=exclude_outside,
        wrong=_manifest(_EDGE % ('"10.88.0.1"', '"10.88.0.1/32", ▶"10.89.0.4/32"')),
        right=_manifest(_EDGE % ('"10.88.0.1"', '"10.88.0.1/32", "10.88.0.4/32"')),
        rows=(11,),
    ),
    Rule(
        code="SB060",
        name="fixed-mac",
        severity=Severity.WARNING,
        summary="One MAC for every pod of the network",
        consequence="Two pods with one MAC: switches send the frames to the one that spoke last.",
        remedy="ask for the MAC in the pod's annotation, or leave it out",
        check=fixed_mac,
        wrong=conf(
            _LAN.replace('"br-lan"', '"br-lan",\n  "args": {"cni": {"mac": ▶"02:00:5e:10:00:01"}}')
        ),
        right=conf(_LAN),
        rows=(30,),
    ),
    Rule(
        code="SB061",
        name="mistyped-plugin",
        severity=Severity.ERROR,
        summary="The plugin's name resembles a known one",
        consequence="No program of that name is found: pods stay in ContainerCreating.",
        remedy="write the name of the program",
        check=mistyped_type,
        wrong=conf(
            _LAN.replace('"br-lan"', '"br-lan",\n  "ipam": ' + _LOCAL % ("▶", "host_local"))
        ),
        right=conf(_LAN.replace('"br-lan"', '"br-lan",\n  "ipam": ' + _LOCAL % ("", "host-local"))),
        rows=(7,),
    ),
    Rule(
        code="SB062",
        name="no-plugin",
        severity=Severity.ERROR,
        summary="The configuration names no plugin",
        consequence="No program is run: pods stay in ContainerCreating.",
        remedy='write "type": "bridge"',
        check=no_type,
        wrong=conf("▶" + _LAN.replace('  "type": "bridge",\n', "")),
        right=conf(_LAN),
        rows=(7,),
    ),
    Rule(
        code="SB063",
        name="old-plugin-name",
        severity=Severity.NOTE,
        summary="The bridge plugin is called by its older name",
        consequence="cnv-bridge is there only where the network addons operator installed it, and"
        " is the same program.",
        remedy='write "type": "bridge"',
        check=old_plugin_name,
        wrong=conf(_LAN.replace('"type": "bridge"', '"type": ▶"cnv-bridge"')),
        right=conf(_LAN),
    ),
)
