# SPDX-License-Identifier: Apache-2.0
"""Rules about devices that get in the way of a network, and about MTUs on its way."""

from collections.abc import Iterator
from typing import Final

from spanbridge.model.findings import Severity
from spanbridge.stretch.lint.cluster import Cluster
from spanbridge.stretch.lint.policies import Bridge, Interface, selects
from spanbridge.stretch.lint.registry import Hit, Rule, nad
from spanbridge.stretch.lint.rules.nodes import POLICY
from spanbridge.stretch.lint.rules.paths import MANIFEST, joined
from spanbridge.stretch.lint.views import as_integer, as_text, dig

_DEFAULT_MTU: Final = 1500


def _vlan_devices(cluster: Cluster) -> Iterator[tuple[Interface, str, int]]:
    for interface in cluster.interfaces:
        base = as_text(dig(interface.raw, "vlan", "base-iface"))
        vid = as_integer(dig(interface.raw, "vlan", "id"))
        if interface.type == "vlan" and not interface.absent and base and vid is not None:
            yield interface, base, vid


def stolen_vlan(cluster: Cluster) -> Iterator[Hit]:
    """Find VLAN devices on a port, of a VLAN that the bridge should get."""
    devices = list(_vlan_devices(cluster))
    if not devices:
        return
    for _, plugin, bridges in joined(cluster):
        ports = {port.name for bridge in bridges for port in bridge.ports}
        for interface, base, vid in devices:
            if plugin.conf is not None and base in ports and vid == plugin.conf.vlan:
                yield Hit(
                    f"{interface.name} takes VLAN {vid} of {plugin.label} off {base} before the"
                    " bridge sees it",
                    interface.policy.spot(*interface.keys),
                    related=(plugin.spot("vlan"),),
                )


def macvlan_on_port(cluster: Cluster) -> Iterator[Hit]:
    """Find macvlan networks on a device that is a bridge's port."""
    ports = {port.name: bridge for found in cluster.bridges.values() for bridge in found
             for port in bridge.ports}  # fmt: skip
    for plugin in cluster.plugins:
        master = as_text(plugin.raw.get("master"))
        if plugin.type in {"macvlan", "ipvlan"} and master in ports:
            bridge = ports[master].interface
            yield Hit(f"{master} is a port of {bridge.name}", plugin.spot("master"),
                      related=(bridge.policy.spot(*bridge.keys),))  # fmt: skip


def _mtus(cluster: Cluster) -> dict[str, int]:
    """Find the smallest MTU that policies give to a device of that name."""
    found: dict[str, int] = {}
    for each in cluster.interfaces:
        if each.mtu:
            found[each.name] = min(each.mtu, found.get(each.name, each.mtu))
    return found


def mtu_too_big(cluster: Cluster) -> Iterator[Hit]:
    """Find networks whose MTU is greater than that of bridge or uplink."""
    mtus = _mtus(cluster)
    for _, plugin, bridges in joined(cluster):
        names = {bridge.interface.name for bridge in bridges}
        names |= {port.name for bridge in bridges for port in bridge.ports}
        known = [(mtus[name], name) for name in names if name in mtus]
        mtu, name = min(known, default=(0, ""))
        if plugin.conf is not None and 0 < mtu < plugin.conf.mtu:
            policy = bridges[0].interface
            yield Hit(
                f"{plugin.label} has MTU {plugin.conf.mtu}, and {name} has {mtu}",
                plugin.spot("mtu"),
                related=(policy.policy.spot(*policy.keys),),
            )


def mtu_unsaid(cluster: Cluster) -> Iterator[Hit]:
    """Find networks that do not use the MTU that their bridge has."""
    for _, plugin, bridges in joined(cluster):
        mtu = min((bridge.interface.mtu or 0 for bridge in bridges), default=0)
        if plugin.conf is not None and not plugin.conf.mtu and mtu > _DEFAULT_MTU:
            yield Hit(
                f"{plugin.conf.bridge} has MTU {mtu}, and pods of {plugin.label} get"
                f" {_DEFAULT_MTU}",
                plugin.spot("bridge"),
            )


def no_selected_uplink(cluster: Cluster) -> Iterator[Hit]:
    """Find nodes that two policies for one bridge give different uplinks."""
    for found in cluster.bridges.values():
        seen: dict[frozenset[tuple[str, str]], Bridge] = {}
        for bridge in found:
            labels = selects(bridge.interface.policy)
            key = frozenset((label, str(value)) for label, value in labels.items())
            earlier = seen.setdefault(key, bridge)
            if {port.name for port in bridge.ports} != {port.name for port in earlier.ports}:
                yield Hit(
                    f"another policy for the same nodes gives {bridge.interface.name} other ports",
                    bridge.interface.policy.spot(*bridge.interface.keys),
                    related=(earlier.interface.policy.spot(*earlier.interface.keys),),
                )


def uplink_taken(cluster: Cluster) -> Iterator[Hit]:
    """Find uplinks in configurations that a policy makes a port of another bridge."""
    ports = {port.name: bridge.interface for found in cluster.bridges.values() for bridge in found
             for port in bridge.ports}  # fmt: skip
    for _, plugin, _ in joined(cluster):
        conf = plugin.conf
        if conf is None or conf.uplink is None:
            continue
        master = ports.get(conf.uplink)
        if master is not None and master.name != conf.bridge:
            message = f"{conf.uplink} is a port of {master.name}, and {conf.bridge} wants it"
            yield Hit(message, plugin.spot("uplink"), related=(master.policy.spot(*master.keys),))


_VLAN_DEVICE: Final = """\
    - %sname: ens2f0.%d
      type: vlan
      state: up
      vlan:
        base-iface: ens2f0
        id: %d
"""

_MACVLAN: Final = nad("""\
{"cniVersion": "1.0.0", "type": "macvlan", "master": "%s", "mode": "bridge",
 "ipam": {"type": "whereabouts", "range": "10.88.0.0/24"}}
""")["nad.yaml"]

_MTU: Final = '"vlan": 2, "mtu": %s9000,'
_JUMBO: Final = POLICY.replace("      bridge:", "      mtu: 9000\n      bridge:")


def _with_mtu(mark: str = "") -> str:
    return MANIFEST.replace('"vlan": 2,', _MTU % mark)


CLUSTER_RULES: Final = (
    Rule(
        code="SB095",
        name="stolen-vlan",
        severity=Severity.ERROR,
        summary="A VLAN device on the bridge's uplink takes the network's VLAN",
        consequence="Frames of that VLAN go to the device and never reach the bridge: pods cannot"
        " be reached, until the device is deleted.",
        remedy="remove the device, or put its address on the bridge's VLAN",
        check=stolen_vlan,
        wrong={"nad.yaml": MANIFEST, "policy.yaml": POLICY + _VLAN_DEVICE % ("▶", 2, 2)},
        right={"nad.yaml": MANIFEST, "policy.yaml": POLICY + _VLAN_DEVICE % ("", 3, 3)},
        rows=(19,),
    ),
    Rule(
        code="SB096",
        name="macvlan-on-port",
        severity=Severity.ERROR,
        summary="macvlan or ipvlan on a device that is a bridge's port",
        consequence="The kernel answers EBUSY: pods stay in ContainerCreating on every node that"
        " has the bridge.",
        remedy="use a bridge network on that bridge, or another device",
        check=macvlan_on_port,
        wrong={
            "nad.yaml": (_MACVLAN % "ens2f0").replace('"ens2f0"', '▶"ens2f0"'),
            "policy.yaml": POLICY,
        },
        right={"nad.yaml": _MACVLAN % "ens3f0", "policy.yaml": POLICY},
        rows=(18,),
    ),
    Rule(
        code="SB097",
        name="mtu-too-big",
        severity=Severity.ERROR,
        summary="The network's MTU is greater than that of its bridge or uplink",
        consequence="Small messages pass and big ones are lost without a word: the migration"
        " starts, and hangs as soon as memory is copied.",
        remedy="give uplink, bridge and network one MTU, on the switch too",
        check=mtu_too_big,
        wrong={"nad.yaml": _with_mtu("▶"), "policy.yaml": _JUMBO.replace("9000", "1500")},
        right={"nad.yaml": _with_mtu(), "policy.yaml": _JUMBO},
        rows=(20,),
    ),
    Rule(
        code="SB105",
        name="mtu-unsaid",
        severity=Severity.NOTE,
        summary="The bridge has a greater MTU than the network on it asks for",
        consequence="The pods' links have 1500 bytes: migrations take longer than they need to,"
        " and the bridge's MTU falls to that of its smallest port unless it was set.",
        remedy='add "mtu" with the bridge\'s value',
        check=mtu_unsaid,
        wrong={"nad.yaml": MANIFEST.replace('"br-mig"', '▶"br-mig"'), "policy.yaml": _JUMBO},
        right={"nad.yaml": _with_mtu(), "policy.yaml": _JUMBO},
        rows=(20,),
    ),
    Rule(
        code="SB107",
        name="policies-disagree",
        severity=Severity.ERROR,
        summary="Two policies for the same nodes give one bridge different ports",
        consequence="Each is applied over the other: the bridge has one uplink after this change"
        " and another after the next.",
        remedy="keep one of the two, or select different nodes",
        check=no_selected_uplink,
        wrong={
            "one.yaml": POLICY,
            "two.yaml": POLICY.replace("ens2f0", "ens3f0")
            .replace("  name: br-mig\nspec", "  name: br-mig-2\nspec")
            .replace("    - name", "    - ▶name"),
        },
        right={"one.yaml": POLICY},
        rows=(14, 17),
    ),
    Rule(
        code="SB108",
        name="uplink-taken",
        severity=Severity.ERROR,
        summary="The uplink of a configuration is a port of another bridge by policy",
        consequence="A device has one master: ADD refuses the uplink, and pods stay in"
        " ContainerCreating.",
        remedy="name the policy's bridge in the configuration, or another uplink",
        check=uplink_taken,
        wrong={
            "nad.yaml": MANIFEST.replace('"br-mig",', '"br-own", "uplink": ▶"ens2f0",'),
            "policy.yaml": POLICY,
        },
        right={
            "nad.yaml": MANIFEST.replace('"br-mig",', '"br-mig", "uplink": "ens2f0",'),
            "policy.yaml": POLICY,
        },
        rows=(14, 18),
    ),
)
