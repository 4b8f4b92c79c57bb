# SPDX-License-Identifier: Apache-2.0
"""Rules about bridge, gateway and routes in a bridge configuration."""

from collections.abc import Iterator
from typing import Final

from spanbridge.model.findings import Severity
from spanbridge.model.netconf import DEFAULT_BRIDGE, SCOPE_NETWORK
from spanbridge.stretch.lint.networks import BRIDGE_TYPES, Network, Plugin
from spanbridge.stretch.lint.registry import Hit, Rule, Spot, conf, nad
from spanbridge.stretch.lint.views import as_list, as_object, as_text, dig


def _bridged(plugin: Plugin) -> bool:
    return plugin.type in BRIDGE_TYPES


def default_bridge(plugin: Plugin) -> Iterator[Hit]:
    """Find networks beyond the node on a bridge that leads nowhere."""
    if _bridged(plugin) and plugin.stretched and not plugin.root.has("bridge"):
        if plugin.root.has("uplink"):
            return
        yield Hit(
            f"no bridge is named, so {plugin.label} uses {DEFAULT_BRIDGE}, which the plugin makes"
            " itself and which has no uplink",
            plugin.spot("type", at_key=True),
            severity=Severity.ERROR if plugin.migration else None,
        )


def _gateway_key(plugin: Plugin) -> str:
    return "isGateway" if plugin.root.take("isGateway") is True else "isDefaultGateway"


def _gateway_source(plugin: Plugin) -> str:
    if plugin.ipam.type == "dhcp":
        return "the router that the DHCP server names"
    named = [str(pool.gateway) for pool in plugin.ipam.pools if pool.gateway is not None]
    return f"the gateway's address, {', '.join(named)}" if named else "the network's first address"


def gateway_on_every_node(plugin: Plugin) -> Iterator[Hit]:
    """Find gateways on networks that go beyond the node."""
    conf_ = plugin.conf
    if conf_ is None or not conf_.is_gateway or not plugin.ipam.type or not plugin.stretched:
        return
    if conf_.gateway_scope == SCOPE_NETWORK:
        return
    key = _gateway_key(plugin)
    device = f"{conf_.bridge}.{conf_.vlan}" if conf_.vlan else conf_.bridge
    yield Hit(
        f"{key} puts {_gateway_source(plugin)} on {device} of every node",
        plugin.spot(key, at_key=True),
    )


def gateway_for_the_network(plugin: Plugin) -> Iterator[Hit]:
    """Find gateways that every node answers for on the whole network."""
    conf_ = plugin.conf
    if conf_ is None or not conf_.is_gateway or not plugin.ipam.type or not plugin.stretched:
        return
    if conf_.gateway_scope == SCOPE_NETWORK:
        yield Hit(
            "every node answers for the gateway's address on the whole network",
            plugin.spot("gatewayScope"),
            severity=Severity.ERROR if plugin.migration else None,
        )


def two_gateways(plugin: Plugin) -> Iterator[Hit]:
    """Find two IPv4 networks with a gateway each on one bridge."""
    conf_ = plugin.conf
    if conf_ is None or not conf_.is_gateway:
        return
    fours = [pool for pool in plugin.ipam.pools if pool.subnet.version == 4]
    subnets = {pool.subnet for pool in fours}
    if len(subnets) > 1 and plugin.ipam.type in {"static", "host-local"}:
        yield Hit(
            f"{_gateway_key(plugin)} with {len(subnets)} IPv4 networks",
            Spot(plugin.document, fours[-1].pointer),
        )


def _has_default_route(plugin: Plugin) -> str:
    """Point to a default route of the ipam section; empty where there is none."""
    node = plugin.ipam.node
    for number, route in enumerate(as_list(node.raw.get("routes") if node else None)):
        if as_text(dig(route, "dst")) in {"0.0.0.0/0", "::/0"} and not dig(route, "table"):
            return f"{node.at('routes')}/{number}/dst" if node else ""
    return ""


def default_route(plugin: Plugin) -> Iterator[Hit]:
    """Find secondary networks that take the pod's default route."""
    if plugin.nad is None or plugin.ipam.type in {"", "dhcp"}:
        return
    pointer = _has_default_route(plugin)
    severity = Severity.ERROR if plugin.migration else None
    if pointer:
        message = f"{plugin.label} gives its pods a default route"
        yield Hit(message, Spot(plugin.document, pointer), severity=severity)
    elif plugin.conf is not None and plugin.conf.is_default_gateway:
        message = f"isDefaultGateway gives the pods of {plugin.label} a default route"
        yield Hit(message, plugin.spot("isDefaultGateway", at_key=True), severity=severity)


def default_route_twice(plugin: Plugin) -> Iterator[Hit]:
    """Find a default route by ipam beside isDefaultGateway."""
    if plugin.nad is not None or plugin.conf is None or not plugin.conf.is_default_gateway:
        return
    pointer = _has_default_route(plugin)
    node = plugin.ipam.node
    routes = as_list(node.raw.get("routes") if node else None)
    if pointer and not dig(routes[int(pointer.split("/")[-2])], "gw"):
        yield Hit(
            "isDefaultGateway and a default route without gw in ipam",
            Spot(plugin.document, pointer),
        )


def force_address(plugin: Plugin) -> Iterator[Hit]:
    """Find bridges whose addresses are taken away."""
    if plugin.conf is not None and plugin.conf.force_address and plugin.conf.is_gateway:
        message = f"forceAddress removes other addresses of {plugin.conf.bridge}"
        yield Hit(message, plugin.spot("forceAddress", at_key=True))


def masquerade_backend(plugin: Plugin) -> Iterator[Hit]:
    """Find the backend that Spanbridge does not use."""
    if plugin.conf is None or not plugin.conf.ip_masq:
        return
    if plugin.conf.ip_masq_backend == "iptables":
        yield Hit("iptables is asked for, and nftables is used", plugin.spot("ipMasqBackend"))


def promiscuous(plugin: Plugin) -> Iterator[Hit]:
    """Find promiscuous bridges."""
    if plugin.conf is not None and plugin.conf.promisc_mode and not plugin.faults:
        yield Hit("the bridge is made promiscuous", plugin.spot("promiscMode", at_key=True))


def dns_erased(plugin: Plugin) -> Iterator[Hit]:
    """Find empty DNS sections, which replace what IPAM answers."""
    dns = as_object(plugin.raw.get("dns"))
    empty = any(isinstance(each, list) for each in dns.values()) and not any(dns.values())
    if _bridged(plugin) and empty:
        yield Hit("an empty list in dns", plugin.spot("dns", at_key=True))


def mac_changed_behind_filter(network: Network) -> Iterator[Hit]:
    """Find a MAC filter in front of a plugin that changes the MAC."""
    bridge = network.bridge
    if bridge is None or bridge.conf is None or not bridge.conf.mac_spoof_check:
        return
    for plugin in network.plugins:
        if plugin.type in {"tuning", "cnv-tuning"} and plugin.raw.get("mac"):
            yield Hit("tuning gives the pod a MAC that macspoofchk does not let through",
                      plugin.spot("mac"))  # fmt: skip


_STRETCHED: Final = """\
{
  "cniVersion": "1.0.0",
  "name": "migration-net",
  "type": "bridge",
  "bridge": "br-mig",
  "vlan": 2,
  "preserveDefaultVlan": false,
  "ipam": {"type": "whereabouts", "range": "10.88.0.0/24", "gateway": "10.88.0.1",
           "exclude": ["10.88.0.1/32"]}
}
"""

_LOCAL: Final = """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "type": "bridge",
  "bridge": "br-lan",
  "isGateway": true,
  "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}
}
"""


def _local(old: str, new: str) -> dict[str, str]:
    return conf(_LOCAL.replace(old, new))


_ROUTED: Final = '"subnet": "10.9.0.0/24"'
_MANIFEST: Final = """\
{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-mig",
 "ipam": {"type": "whereabouts", "range": "10.88.0.0/24"%s}}
"""

PLUGIN_RULES: Final = (
    Rule(
        code="SB030",
        name="default-bridge",
        severity=Severity.WARNING,
        summary="A network that goes beyond the node names no bridge",
        consequence=f"The plugin makes {DEFAULT_BRIDGE}, empty and without an uplink: no frame"
        " leaves the node. Pods start (or wait for DHCP for ever), and reach nothing.",
        remedy='write "bridge": "br-mig", a bridge that has an uplink on every node',
        check=default_bridge,
        wrong=conf(
            _STRETCHED.replace('"type": "bridge",\n  "bridge": "br-mig"', '▶"type": "bridge"')
        ),
        right=conf(_STRETCHED),
        rows=(14,),
    ),
    Rule(
        code="SB031",
        name="gateway-on-every-node",
        severity=Severity.WARNING,
        summary="isGateway or isDefaultGateway on a network that goes beyond the node",
        consequence="With the reference plugin every node answers for the address on the VLAN: a"
        " real router that has it loses its traffic, peers reach whichever node answered last."
        " With Spanbridge the address stays on its node (gatewayScope node): nothing breaks on the"
        " wire, but pods use their own node instead of the router, cannot reach the router itself,"
        " and the node forwards between all of its networks.",
        remedy="remove it: virt-handlers in one subnet need no gateway; where one is needed, let"
        " the router have the address",
        check=gateway_on_every_node,
        wrong=conf(_STRETCHED.replace('  "vlan"', '  ▶"isGateway": true,\n  "vlan"')),
        right=conf(_STRETCHED),
        rows=(11,),
    ),
    Rule(
        code="SB032",
        name="gateway-for-the-network",
        severity=Severity.WARNING,
        summary="gatewayScope network on a network that goes beyond the node",
        consequence="Every node answers ARP and neighbour discovery for one address: the peers'"
        " tables change at each answer, and a real router that has the address is cut off.",
        remedy='remove isGateway, or write "gatewayScope": "node"',
        check=gateway_for_the_network,
        wrong=conf(
            _STRETCHED.replace(
                '  "vlan"', '  "isGateway": true,\n  "gatewayScope": ▶"network",\n  "vlan"'
            )
        ),
        right=conf(_STRETCHED),
        rows=(11,),
    ),
    Rule(
        code="SB033",
        name="two-gateways",
        severity=Severity.WARNING,
        summary="One bridge gets gateways in two IPv4 networks",
        consequence="The reference plugin refuses the second address, at every ADD, after it has"
        " made the pod's link; with forceAddress it takes the first one away.",
        remedy="give each network a bridge or a VLAN of its own",
        check=two_gateways,
        wrong=_local(
            _ROUTED, '"ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": ▶"10.9.1.0/24"}]]'
        ),
        right=conf(_LOCAL),
    ),
    Rule(
        code="SB034",
        name="default-route-twice",
        severity=Severity.WARNING,
        summary="isDefaultGateway beside a default route of ipam without a next hop",
        consequence='The reference plugin adds the route twice and fails: "file exists".',
        remedy="keep one of the two",
        check=default_route_twice,
        wrong=_local(
            '"isGateway": true,\n  "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}',
            '"isDefaultGateway": true,\n  "ipam": {"type": "host-local", "subnet": "10.9.0.0/24",'
            '\n           "routes": [{"dst": ▶"0.0.0.0/0"}]}',
        ),
        right=_local('"isGateway"', '"isDefaultGateway"'),
    ),
    Rule(
        code="SB035",
        name="default-route-on-secondary",
        severity=Severity.WARNING,
        summary="A secondary network gives its pods a default route",
        consequence="It competes with the one of the pod network: the API server and cluster DNS"
        " may become unreachable for the pod; a virt-handler then restarts for ever.",
        remedy="write only the routes that this network is needed for, or none",
        check=default_route,
        wrong=nad(_MANIFEST % ',\n  "routes": [{"dst": ▶"0.0.0.0/0", "gw": "10.88.0.250"}]'),
        right=nad(_MANIFEST % ""),
        rows=(25,),
    ),
    Rule(
        code="SB036",
        name="force-address",
        severity=Severity.WARNING,
        summary="forceAddress removes other addresses of the bridge",
        consequence="Another network on the same bridge loses its gateway, and so do addresses"
        " that an administrator gave to the bridge.",
        remedy="remove forceAddress; give each network a bridge of its own",
        check=force_address,
        wrong=_local('  "ipam"', '  ▶"forceAddress": true,\n  "ipam"'),
        right=conf(_LOCAL),
    ),
    Rule(
        code="SB037",
        name="masquerade-backend",
        severity=Severity.NOTE,
        summary="ipMasqBackend names iptables, which Spanbridge does not use",
        consequence="Masquerading is done with nftables. Rules that iptables users look for are"
        " not there.",
        remedy='write "nftables", or remove the key',
        check=masquerade_backend,
        wrong=_local('  "ipam"', '  "ipMasq": true,\n  "ipMasqBackend": ▶"iptables",\n  "ipam"'),
        right=_local('  "ipam"', '  "ipMasq": true,\n  "ipMasqBackend": "nftables",\n  "ipam"'),
    ),
    Rule(
        code="SB038",
        name="promiscuous-bridge",
        severity=Severity.WARNING,
        summary="promiscMode makes the bridge take every frame",
        consequence="Frames that are flooded are delivered twice to the node; it is never switched"
        " off again. With the reference plugin CHECK also fails while somebody captures packets.",
        remedy="use hairpinMode where pods must reach themselves",
        check=promiscuous,
        wrong=_local('  "ipam"', '  ▶"promiscMode": true,\n  "ipam"'),
        right=_local('  "ipam"', '  "hairpinMode": true,\n  "ipam"'),
    ),
    Rule(
        code="SB047",
        name="dns-erased",
        severity=Severity.NOTE,
        summary="dns holds an empty list",
        consequence="With the reference plugin it replaces what the address management answers:"
        " the result has no DNS settings.",
        remedy="remove dns, or write the servers",
        check=dns_erased,
        wrong=_local('  "ipam"', '  ▶"dns": {"nameservers": []},\n  "ipam"'),
        right=_local('  "ipam"', '  "dns": {"nameservers": ["10.9.0.53"]},\n  "ipam"'),
    ),
)

_CHAIN: Final = """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "plugins": [
    {"type": "bridge", "bridge": "br-lan", "macspoofchk": true},
    {"type": "tuning"%s}
  ]
}
"""

NETWORK_RULES: Final = (
    Rule(
        code="SB039",
        name="mac-behind-filter",
        severity=Severity.ERROR,
        summary="macspoofchk in front of a plugin that changes the MAC",
        consequence="The filter knows the MAC that the link was made with: everything the pod"
        " sends is dropped.",
        remedy="ask for the MAC in the pod's annotation (capability mac), not in tuning",
        check=mac_changed_behind_filter,
        wrong={"10-lan.conflist": _CHAIN % ', "mac": ▶"02:00:5e:10:00:01"'},
        right={"10-lan.conflist": _CHAIN % ""},
    ),
)
