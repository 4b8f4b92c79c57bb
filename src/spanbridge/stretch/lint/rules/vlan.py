# SPDX-License-Identifier: Apache-2.0
"""Rules about VLANs and MTU in a bridge configuration."""

from collections.abc import Iterator
from typing import Final

from spanbridge.model.findings import Severity
from spanbridge.model.netconf import MTU_MIN_IPV6
from spanbridge.stretch.lint.edits import insert_after
from spanbridge.stretch.lint.networks import Plugin
from spanbridge.stretch.lint.registry import Hit, Rule, conf

_DEFAULT_PVID: Final = 1


def default_vlan_kept(plugin: Plugin) -> Iterator[Hit]:
    """Find ports that keep the bridge's default VLAN beside their own."""
    conf_ = plugin.conf
    if conf_ is not None and conf_.vlan > _DEFAULT_PVID and conf_.preserve_default_vlan:
        yield Hit(
            f"the port is in VLAN {_DEFAULT_PVID} as well as in VLAN {conf_.vlan}",
            plugin.spot("preserveDefaultVlan"),
        )


def default_vlan_unsaid(plugin: Plugin) -> Iterator[Hit]:
    """Find VLANs without preserveDefaultVlan, whose default changed."""
    conf_ = plugin.conf
    if conf_ is None or conf_.vlan <= _DEFAULT_PVID or plugin.root.has("preserveDefaultVlan"):
        return
    spot = plugin.spot("vlan", at_key=True)
    edits = insert_after(spot.document, spot.pointer, '"preserveDefaultVlan": false')
    yield Hit("preserveDefaultVlan is not given, and its default changed", spot, edits=edits)


def native_vlan_unsaid(plugin: Plugin) -> Iterator[Hit]:
    """Find trunks without a native VLAN of their own."""
    if plugin.conf is not None and plugin.conf.trunk and not plugin.conf.vlan:
        message = f"a trunk without vlan: what the pod sends untagged goes to VLAN {_DEFAULT_PVID}"
        yield Hit(message, plugin.spot("vlanTrunk", at_key=True))


def native_vlan_in_trunk(plugin: Plugin) -> Iterator[Hit]:
    """Find a native VLAN that the trunk lists too."""
    conf_ = plugin.conf
    if conf_ is not None and conf_.vlan and any(conf_.vlan in each for each in conf_.trunk or ()):
        yield Hit(f"VLAN {conf_.vlan} is native and in the trunk", plugin.spot("vlan"))


def empty_trunk(plugin: Plugin) -> Iterator[Hit]:
    """Find trunks that list nothing."""
    if plugin.conf is not None and plugin.conf.trunk == ():
        yield Hit("the trunk lists no VLAN", plugin.spot("vlanTrunk"))


def vlan_one(plugin: Plugin) -> Iterator[Hit]:
    """Find VLAN 1, which leaves without a tag."""
    if plugin.conf is not None and plugin.conf.vlan == _DEFAULT_PVID:
        yield Hit(
            f"VLAN {_DEFAULT_PVID} is what every port of a bridge has anyway", plugin.spot("vlan")
        )


def mtu_below_ipv6(plugin: Plugin) -> Iterator[Hit]:
    """Find MTUs that IPv6 does not work with."""
    conf_ = plugin.conf
    if conf_ is None or not 0 < conf_.mtu < MTU_MIN_IPV6:
        return
    if any(pool.subnet.version == 6 for pool in plugin.ipam.pools):
        yield Hit(f"MTU {conf_.mtu} is too small for IPv6", plugin.spot("mtu"))


_TAGGED: Final = """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "type": "bridge",
  "bridge": "br-lan",
  "vlan": 100,
  "preserveDefaultVlan": false
}
"""


def _with(old: str, new: str) -> dict[str, str]:
    return conf(_TAGGED.replace(old, new))


_SMALL: Final = """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "type": "bridge",
  "bridge": "br-lan",
  "mtu": %s,
  "ipam": {"type": "host-local", "subnet": "fd00:9::/64"}
}
"""

PLUGIN_RULES: Final = (
    Rule(
        code="SB040",
        name="default-vlan-kept",
        severity=Severity.WARNING,
        summary="preserveDefaultVlan keeps VLAN 1 on the pod's port",
        consequence="Broadcasts of VLAN 1 reach the pod, which costs time and gives away what is"
        " said there.",
        remedy='write "preserveDefaultVlan": false',
        check=default_vlan_kept,
        wrong=_with("false", "▶true"),
        right=conf(_TAGGED),
        rows=(16,),
    ),
    Rule(
        code="SB041",
        name="default-vlan-unsaid",
        severity=Severity.NOTE,
        summary="vlan is given, and preserveDefaultVlan is not",
        consequence="Its default was true in the reference plugin up to 1.7.1 and is false since"
        " 1.8.0 and in Spanbridge: the same file lets VLAN 1 into the pod on one node and not on"
        " the next.",
        remedy='add "preserveDefaultVlan": false',
        check=default_vlan_unsaid,
        wrong=conf(_TAGGED.replace('"vlan": 100,\n  "preserveDefaultVlan": false', '▶"vlan": 100')),
        right=conf(_TAGGED),
        rows=(16,),
    ),
    Rule(
        code="SB042",
        name="native-vlan-unsaid",
        severity=Severity.WARNING,
        summary="vlanTrunk is given without vlan",
        consequence="The port's native VLAN is 1: untagged frames of the pod enter the network"
        " of the bridge's default VLAN.",
        remedy='write "vlan" for the native VLAN that is meant',
        check=native_vlan_unsaid,
        wrong=_with(
            '"vlan": 100,\n  "preserveDefaultVlan": false',
            '▶"vlanTrunk": [{"minID": 101, "maxID": 110}]',
        ),
        right=_with('"vlan": 100', '"vlan": 100,\n  "vlanTrunk": [{"minID": 101, "maxID": 110}]'),
    ),
    Rule(
        code="SB043",
        name="native-vlan-in-trunk",
        severity=Severity.WARNING,
        summary="The native VLAN is listed in vlanTrunk too",
        consequence="The reference plugin lets the trunk win: the VLAN leaves with a tag, and"
        " untagged frames of the pod are dropped. Spanbridge keeps it native.",
        remedy="take it out of vlanTrunk",
        check=native_vlan_in_trunk,
        wrong=_with('"vlan": 100', '"vlan": ▶100,\n  "vlanTrunk": [{"minID": 100, "maxID": 110}]'),
        right=_with('"vlan": 100', '"vlan": 100,\n  "vlanTrunk": [{"minID": 101, "maxID": 110}]'),
    ),
    Rule(
        code="SB044",
        name="empty-trunk",
        severity=Severity.WARNING,
        summary="vlanTrunk is an empty list",
        consequence="The bridge filters VLANs and the port gets none of its own: it stays in"
        " VLAN 1.",
        remedy="list the VLANs, or remove the key",
        check=empty_trunk,
        wrong=_with('"vlan": 100,\n  "preserveDefaultVlan": false', '"vlanTrunk": ▶[]'),
        right=conf(_TAGGED),
    ),
    Rule(
        code="SB045",
        name="vlan-one",
        severity=Severity.WARNING,
        summary="vlan is 1",
        consequence="VLAN 1 is the default of every port of a bridge: its frames leave the uplink"
        " without a tag, into whatever the switch takes untagged frames for.",
        remedy="use another VLAN id, or leave vlan out on a bridge of its own",
        check=vlan_one,
        wrong=_with("100", "▶1"),
        right=conf(_TAGGED),
    ),
    Rule(
        code="SB046",
        name="mtu-below-ipv6",
        severity=Severity.ERROR,
        summary=f"The MTU is below {MTU_MIN_IPV6} and the pod gets IPv6 addresses",
        consequence="The kernel takes IPv6 off such a link; ADD fails.",
        remedy=f"write 0 for the default, or at least {MTU_MIN_IPV6}",
        check=mtu_below_ipv6,
        wrong=conf(_SMALL % "▶1000"),
        right=conf(_SMALL % "1500"),
    ),
)
