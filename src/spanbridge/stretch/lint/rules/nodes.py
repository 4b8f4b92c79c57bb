# SPDX-License-Identifier: Apache-2.0
"""Rules about node network policies by themselves."""

from collections.abc import Iterator
from typing import Final

from spanbridge.base.names import VLAN_MAX, ifname_fault
from spanbridge.model.findings import Severity
from spanbridge.stretch.lint.cluster import Cluster
from spanbridge.stretch.lint.policies import POLICY_KIND, Bridge, Port, interfaces_of
from spanbridge.stretch.lint.registry import Hit, Rule
from spanbridge.stretch.lint.views import as_integer, as_list, as_object, as_text, dig


def _bridges(cluster: Cluster) -> Iterator[Bridge]:
    return (bridge for found in cluster.bridges.values() for bridge in found)


def no_uplink(cluster: Cluster) -> Iterator[Hit]:
    """Find bridges without a port."""
    for bridge in _bridges(cluster):
        if not bridge.ports:
            interface = bridge.interface
            yield Hit(
                f"bridge {interface.name} has no port", interface.policy.spot(*interface.keys)
            )


def _vlan_fault(port: Port) -> tuple[str, tuple[str, ...]]:
    """Say what nmstate refuses in a port's VLAN block, and at which key."""
    vlan = as_object(port.vlan)
    tags, native = as_list(vlan.get("trunk-tags")), vlan.get("enable-native") is True
    access, trunk = port.mode == "access", port.mode == "trunk"
    faults = (
        (access and tags, "an access port has no trunk-tags", "trunk-tags"),
        (access and native, "an access port has no enable-native", "enable-native"),
        (trunk and not tags, "a trunk needs trunk-tags", "mode"),
        (trunk and vlan.get("tag") and not native, "tag of a trunk needs enable-native: true",
         "tag"),
    )  # fmt: skip
    for broken, fault, key in faults:
        if broken:
            return fault, (key,)
    return _tags_fault(tags)


def _tags_fault(tags: list[object]) -> tuple[str, tuple[str, ...]]:
    for number, each in enumerate(tags):
        low, high = (as_integer(dig(each, "id-range", end)) for end in ("min", "max"))
        ends = (low, high, as_integer(dig(each, "id")))
        if any(end is not None and not 1 <= end <= VLAN_MAX for end in ends):
            return "a VLAN id is out of range", ("trunk-tags", str(number))
        if low is not None and high is not None and low > high:
            return "min is greater than max", ("trunk-tags", str(number))
    return "", ()


def bad_port_vlan(cluster: Cluster) -> Iterator[Hit]:
    """Find VLAN blocks that nmstate refuses."""
    for bridge in _bridges(cluster):
        for port in bridge.ports:
            fault, keys = _vlan_fault(port)
            if fault:
                yield Hit(fault, bridge.interface.policy.spot(*port.keys, "vlan", *keys))


def bad_selector(cluster: Cluster) -> Iterator[Hit]:
    """Find selectors in another form than a plain map."""
    for policy in cluster.of_kind(POLICY_KIND):
        selector = as_object(policy.get("spec", "nodeSelector"))
        for key, value in selector.items():
            if not isinstance(value, str):
                shape = "labels are listed plainly" if isinstance(value, (dict, list)) else (
                    "a label's value is text")  # fmt: skip
                yield Hit(f"{shape} in a policy's nodeSelector",
                          policy.spot("spec", "nodeSelector", key, at_key=True))  # fmt: skip


def two_masters(cluster: Cluster) -> Iterator[Hit]:
    """Find devices that one policy makes a port of two bridges or bonds."""
    for policy in cluster.of_kind(POLICY_KIND):
        seen: dict[str, tuple[str, ...]] = {}
        for interface in interfaces_of(policy):
            for name, keys in _ports_of(interface.raw, interface.keys):
                if name in seen and not interface.absent:
                    yield Hit(f"{name} is a port of another device already", policy.spot(*keys),
                              related=(policy.spot(*seen[name]),))  # fmt: skip
                seen[name] = keys


def _ports_of(raw: object, keys: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for number, each in enumerate(as_list(dig(raw, "bridge", "port"))):
        yield as_text(dig(each, "name")), (*keys, "bridge", "port", str(number), "name")
    for number, each in enumerate(as_list(dig(raw, "link-aggregation", "port"))):
        yield as_text(each), (*keys, "link-aggregation", "port", str(number))


def address_on_port(cluster: Cluster) -> Iterator[Hit]:
    """Find ports that a policy gives addresses."""
    for policy in cluster.of_kind(POLICY_KIND):
        mine = list(interfaces_of(policy))
        ports = {name for each in mine for name, _ in _ports_of(each.raw, each.keys)}
        for interface in mine:
            for family in ("ipv4", "ipv6"):
                if interface.name in ports and dig(interface.raw, family, "enabled") is True:
                    message = f"{interface.name} is a port and has {family} enabled"
                    yield Hit(message, policy.spot(*interface.keys, family, at_key=True))


def spanning_tree(cluster: Cluster) -> Iterator[Hit]:
    """Find bridges on which the spanning tree protocol is on."""
    for bridge in _bridges(cluster):
        if dig(bridge.interface.raw, "bridge", "options", "stp", "enabled") is True:
            keys = (*bridge.interface.keys, "bridge", "options", "stp", "enabled")
            yield Hit(f"{bridge.interface.name} takes part in spanning tree",
                      bridge.interface.policy.spot(*keys))  # fmt: skip


def other_protocol(cluster: Cluster) -> Iterator[Hit]:
    """Find bridges that tag in another way than the nodes' switches."""
    for bridge in _bridges(cluster):
        protocol = dig(bridge.interface.raw, "bridge", "options", "vlan-protocol")
        if protocol == "802.1ad":
            keys = (*bridge.interface.keys, "bridge", "options", "vlan-protocol")
            yield Hit(f"{bridge.interface.name} tags with 802.1ad",
                      bridge.interface.policy.spot(*keys))  # fmt: skip


def long_name(cluster: Cluster) -> Iterator[Hit]:
    """Find interface names that the kernel does not take."""
    for interface in cluster.interfaces:
        fault = ifname_fault(interface.name) if interface.name else None
        if fault:
            yield Hit(f"{interface.name!r} is no interface name: {fault}",
                      interface.policy.spot(*interface.keys, "name"))  # fmt: skip


POLICY: Final = """\
apiVersion: nmstate.io/v1
kind: NodeNetworkConfigurationPolicy
metadata:
  name: br-mig
spec:
  desiredState:
    interfaces:
    - name: br-mig
      type: linux-bridge
      state: up
      bridge:
        options:
          stp: {enabled: false}
        port:
        - name: ens2f0
"""


def _example(old: str, new: str) -> dict[str, str]:
    return {"policy.yaml": POLICY.replace(old, new)}


_VLAN: Final = "        - name: ens2f0\n          vlan: {%s}\n"
_GOOD: Final = {"policy.yaml": POLICY}
_PORT: Final = "        - name: ens2f0\n"
_ETHERNET: Final = "    - name: ens2f0\n      type: ethernet\n      state: up\n      %sipv4: %s\n"

CLUSTER_RULES: Final = (
    Rule(
        code="SB091",
        name="bridge-without-port",
        severity=Severity.ERROR,
        summary="A policy makes a bridge without a port",
        consequence="The bridge leads nowhere: pods reach those of their own node only.",
        remedy="list the uplink under bridge.port",
        check=no_uplink,
        wrong={
            "policy.yaml": POLICY.replace("        port:\n" + _PORT, "").replace(
                "    - name: br-mig", "    - ▶name: br-mig"
            )
        },
        right=_GOOD,
        rows=(14,),
    ),
    Rule(
        code="SB098",
        name="bad-port-vlan",
        severity=Severity.ERROR,
        summary="nmstate refuses a port's VLAN block",
        consequence="The whole policy is Degraded, and nothing of it is applied.",
        remedy="trunk: trunk-tags, and enable-native with tag; access: tag alone",
        check=bad_port_vlan,
        wrong=_example(_PORT, _VLAN % "mode: ▶trunk"),
        right=_example(_PORT, _VLAN % "mode: trunk, trunk-tags: [{id: 2}]"),
        rows=(13, 17),
    ),
    Rule(
        code="SB099",
        name="bad-selector",
        severity=Severity.ERROR,
        summary="The policy's nodeSelector is no plain map of labels",
        consequence="The API server refuses it, or no node is selected and no bridge made.",
        remedy='write nodeSelector: {node-role.kubernetes.io/worker: ""}',
        check=bad_selector,
        wrong=_example("spec:\n", "spec:\n  nodeSelector:\n    ▶matchLabels: {rack: a}\n"),
        right=_example("spec:\n", "spec:\n  nodeSelector:\n    rack: a\n"),
        rows=(24,),
    ),
    Rule(
        code="SB100",
        name="two-masters",
        severity=Severity.ERROR,
        summary="A device is a port of two bridges or bonds",
        consequence="A device has one master: the policy is refused, or the bridge that came first"
        " loses its uplink.",
        remedy="use one bridge, or make bonds of other devices",
        check=two_masters,
        wrong={
            "policy.yaml": POLICY
            + """\
    - name: br-other
      type: linux-bridge
      state: up
      bridge:
        port:
        - name: ▶ens2f0
"""
        },
        right=_GOOD,
        rows=(14, 18),
    ),
    Rule(
        code="SB101",
        name="spanning-tree",
        severity=Severity.WARNING,
        summary="The bridge takes part in spanning tree",
        consequence="A port that comes up listens and learns for 30 seconds: DHCP gives up, and a"
        " migration that starts then fails. A switch may also block the port of the node.",
        remedy="write stp: {enabled: false}: a node's bridge with one uplink makes no loop",
        check=spanning_tree,
        wrong=_example("enabled: false", "enabled: ▶true"),
        right=_GOOD,
        rows=(12,),
    ),
    Rule(
        code="SB102",
        name="address-on-port",
        severity=Severity.WARNING,
        summary="A device that is a port has addresses enabled",
        consequence="Frames that arrive go to the bridge: the address is not reached, and nmstate"
        " reports a state that never becomes true.",
        remedy="give the address to the bridge, or disable it on the port",
        check=address_on_port,
        wrong={"policy.yaml": POLICY + _ETHERNET % ("▶", "{enabled: true, dhcp: true}")},
        right={"policy.yaml": POLICY + _ETHERNET % ("", "{enabled: false}")},
        rows=(17,),
    ),
    Rule(
        code="SB104",
        name="other-vlan-protocol",
        severity=Severity.ERROR,
        summary="The bridge tags with 802.1ad",
        consequence="Its tags have another type than 802.1Q: switches that do not stack VLANs drop"
        " the frames, and so do the other nodes.",
        remedy="remove vlan-protocol",
        check=other_protocol,
        wrong=_example("          stp:", "          vlan-protocol: ▶802.1ad\n          stp:"),
        right=_GOOD,
        rows=(13,),
    ),
    Rule(
        code="SB106",
        name="impossible-interface-name",
        severity=Severity.ERROR,
        summary="The kernel does not take an interface's name",
        consequence="The policy is Degraded, and nothing of it is applied.",
        remedy="use at most 15 bytes without white space, slash or colon",
        check=long_name,
        wrong=_example("    - name: br-mig", "    - name: ▶br-migration-net0"),
        right=_GOOD,
        rows=(14,),
    ),
)
