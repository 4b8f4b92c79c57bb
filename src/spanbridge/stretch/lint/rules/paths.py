# SPDX-License-Identifier: Apache-2.0
"""Rules that follow a network from the manifest to the uplinks of the nodes."""

from collections.abc import Iterator, Sequence
from typing import Final

from spanbridge.base.names import VlanId
from spanbridge.model.findings import Severity
from spanbridge.model.netconf import NetConf, VlanRange
from spanbridge.stretch.lint.cluster import Cluster
from spanbridge.stretch.lint.networks import Network, Plugin
from spanbridge.stretch.lint.policies import Bridge, Port, may_reach_control_plane
from spanbridge.stretch.lint.registry import HYPERCONVERGED, Hit, Rule, nad
from spanbridge.stretch.lint.rules.nodes import POLICY

_DEFAULT_PVID: Final = VlanId(1)


def joined(cluster: Cluster) -> Iterator[tuple[Network, Plugin, list[Bridge]]]:
    """
    Pair each bridge network with the policies that make its bridge.

    Of networks that are alike in all that is looked at here, the first one stands for
    all: a manifest for each node, times a policy for each node, would be too many.
    """
    seen: set[object] = set()
    for network in cluster.networks:
        plugin = network.bridge
        conf = plugin.conf if plugin is not None else None
        if plugin is None or conf is None:
            continue
        wires = (conf.bridge, conf.vlan, conf.trunk, conf.mtu, conf.uplink)
        like = (wires, network.migration, plugin.stretched, network.nad is None)
        if like not in seen:
            seen.add(like)
            yield network, plugin, cluster.bridges.get(conf.bridge, [])


def bridge_not_made(cluster: Cluster) -> Iterator[Hit]:
    """Find bridges that no policy makes, where policies make bridges."""
    for network, plugin, bridges in joined(cluster):
        if network.nad is None or bridges or not cluster.bridges or plugin.conf is None:
            continue
        if plugin.root.has("bridge") and plugin.stretched and not plugin.root.has("uplink"):
            made = ", ".join(sorted(cluster.bridges))
            yield Hit(f"no policy makes {plugin.conf.bridge}; there is {made}",
                      plugin.spot("bridge"))  # fmt: skip


def _inside(vlans: VlanRange, ranges: Sequence[VlanRange]) -> bool:
    return any(each.first <= vlans.first and vlans.last <= each.last for each in ranges)


def _carries(port: Port, conf: NetConf) -> bool:
    """Tell whether a port carries every VLAN of a network; VLAN 1 is on each one."""
    native = [VlanRange(VlanId(port.native), VlanId(port.native))] if port.native else []
    carried = [*port.tagged, *native, VlanRange(_DEFAULT_PVID, _DEFAULT_PVID)]
    wanted = [VlanRange(VlanId(conf.vlan), VlanId(conf.vlan))] if conf.vlan else []
    return all(_inside(each, carried) for each in (*wanted, *(conf.trunk or ())))


def uplink_lacks_vlan(cluster: Cluster) -> Iterator[Hit]:
    """Find uplinks that do not carry a network's VLAN."""
    for _, plugin, bridges in joined(cluster):
        conf = plugin.conf
        for bridge in bridges:
            if conf is None or not bridge.filtering or not conf.uses_vlans:
                continue
            key = "vlan" if conf.vlan else "vlanTrunk"
            for port in bridge.ports:
                # The plugin allows its VLANs on the uplink that it is told.
                if port.name != conf.uplink and not _carries(port, conf):
                    vlans = conf.vlan or ", ".join(map(str, conf.trunk or ()))
                    yield Hit(
                        f"{port.name} does not carry VLAN {vlans} of {plugin.label}",
                        bridge.interface.policy.spot(*port.keys),
                        related=(plugin.spot(key),),
                    )


def not_filtering(cluster: Cluster) -> Iterator[Hit]:
    """Find bridges without VLAN filtering under networks with VLANs."""
    for _, plugin, bridges in joined(cluster):
        for bridge in bridges:
            if plugin.conf is None or not plugin.conf.uses_vlans or not bridge.ports:
                continue
            if not bridge.filtering:
                yield Hit(
                    f"{bridge.interface.name} does not filter VLANs, and {plugin.label} uses them",
                    bridge.interface.policy.spot(*bridge.ports[0].keys, "vlan", at_key=True),
                    related=(plugin.spot("vlan"),),
                )


def untagged_uplink(cluster: Cluster) -> Iterator[Hit]:
    """Find uplinks that take the tag off a network's VLAN."""
    for _, plugin, bridges in joined(cluster):
        for bridge in bridges:
            for port in bridge.ports:
                conf = plugin.conf
                if conf is not None and conf.vlan > _DEFAULT_PVID and port.native == conf.vlan:
                    yield Hit(
                        f"VLAN {conf.vlan} of {plugin.label} leaves {port.name} without a tag",
                        bridge.interface.policy.spot(*port.keys, "vlan", "tag"),
                    )


def _placed_by_hand(cluster: Cluster) -> bool:
    """Tell whether the synchronization controllers are put elsewhere than usual."""
    keys = ("spec", "infra", "nodePlacement")
    return any(item.get(*keys) is not None for item in cluster.items)


def not_on_control_plane(cluster: Cluster) -> Iterator[Hit]:
    """Find bridges of migration networks that workers alone have."""
    if _placed_by_hand(cluster):
        return
    for network, plugin, bridges in joined(cluster):
        if not network.migration or not bridges:
            continue
        if not any(may_reach_control_plane(bridge.interface.policy) for bridge in bridges):
            policy = bridges[0].interface.policy
            yield Hit(
                f"only workers get {bridges[0].interface.name}, and {plugin.label} is needed on"
                " control-plane nodes too",
                policy.spot("spec", "nodeSelector", at_key=True),
            )


_CONFIG: Final = """\
{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-mig", "vlan": 2,
 "preserveDefaultVlan": false,
 "ipam": {"type": "whereabouts", "range": "10.88.0.0/24"}}
"""
MANIFEST: Final = nad(_CONFIG)["nad.yaml"]
_PORT: Final = "        - name: ens2f0\n"
_VLAN: Final = "          vlan: {%s}\n"
_SELECTOR: Final = 'spec:\n  %snodeSelector:\n    %s: ""\n'


def _files(policy: str, manifest: str = MANIFEST) -> dict[str, str]:
    return {"nad.yaml": manifest, "policy.yaml": policy}


def _port(vlan: str, mark: str = "") -> dict[str, str]:
    port = _PORT.replace("- name", f"- {mark}name")
    return _files(POLICY.replace(_PORT, port + _VLAN % vlan))


def _selected(label: str, mark: str = "") -> dict[str, str]:
    policy = POLICY.replace("spec:\n", _SELECTOR % (mark, label))
    return {"hyperconverged.yaml": HYPERCONVERGED, **_files(policy)}


CLUSTER_RULES: Final = (
    Rule(
        code="SB090",
        name="bridge-not-made",
        severity=Severity.WARNING,
        summary="A network's bridge is made by none of the cluster's policies",
        consequence="The plugin makes an empty bridge of that name on each node: pods start, and"
        " no frame leaves the node.",
        remedy="correct the name, or add a policy that makes the bridge with its uplink",
        check=bridge_not_made,
        wrong=_files(POLICY, MANIFEST.replace('"br-mig"', '▶"br-migr"')),
        right=_files(POLICY),
        rows=(14,),
    ),
    Rule(
        code="SB092",
        name="uplink-lacks-vlan",
        severity=Severity.ERROR,
        summary="The bridge's uplink does not carry the network's VLAN",
        consequence="Addresses look right, and nothing passes between nodes: the bridge drops the"
        " VLAN at its uplink.",
        remedy="add the VLAN to trunk-tags of the port, and to the switch behind it",
        check=uplink_lacks_vlan,
        wrong=_port("mode: trunk, trunk-tags: [{id: 3}]", "▶"),
        right=_port("mode: trunk, trunk-tags: [{id: 2}, {id: 3}]"),
        rows=(13,),
    ),
    Rule(
        code="SB093",
        name="bridge-without-filtering",
        severity=Severity.ERROR,
        summary="The policy's bridge does not filter VLANs, and a network on it has one",
        consequence="The reference plugin succeeds, the VLAN is ignored, and the pods' frames land"
        " in the uplink's untagged network. Spanbridge refuses the bridge.",
        remedy="remove the empty vlan block of the port, or list trunk-tags in it",
        check=not_filtering,
        wrong=_files(POLICY.replace(_PORT, _PORT + "          ▶vlan: {}\n")),
        right=_files(POLICY),
        rows=(15,),
    ),
    Rule(
        code="SB103",
        name="untagged-uplink",
        severity=Severity.WARNING,
        summary="The network's VLAN leaves the uplink without a tag",
        consequence="It works only where the switch's port is an access port of that VLAN on"
        " every node; on a trunk the frames land in the switch's native VLAN.",
        remedy="make the port a trunk that lists the VLAN, if the switch sends it tagged",
        check=untagged_uplink,
        wrong=_port("mode: access, tag: ▶2"),
        right=_port("mode: trunk, trunk-tags: [{id: 2}]"),
        rows=(13, 15),
    ),
    Rule(
        code="SB094",
        name="not-on-control-plane",
        severity=Severity.WARNING,
        summary="Only workers get the migration network's bridge",
        consequence="The synchronization controllers run on control-plane nodes and are attached"
        " to the network too: they stay in ContainerCreating, and no migration ever starts.",
        remedy="select control-plane nodes with a policy of the same bridge, or place the"
        " controllers elsewhere with spec.infra.nodePlacement",
        check=not_on_control_plane,
        wrong=_selected("node-role.kubernetes.io/worker", "▶"),
        right=_selected("kubernetes.io/os"),
        rows=(24,),
    ),
)
