# SPDX-License-Identifier: Apache-2.0
"""
What the network managers of a node want to read so that an uplink is there after a reboot.

Pure: from a wish to texts. What is rendered makes the same bridge and port as `ensure`:
same MAC, same VLANs, and no default VLAN that was not named.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from spanbridge.model.uplink import UplinkWish

NMSTATE: Final = "nmstate"
NETWORKMANAGER: Final = "networkmanager"
NETWORKD: Final = "networkd"

_HEAD: Final = "# Written by `spanbridge uplink ensure`; `spanbridge uplink release` removes it.\n"

_UUIDS: Final = uuid.UUID("6f9bd6a2-6d3e-5d0c-9f5e-3b1f6f0f7c11")
"""Name space of the connections' UUIDs: the same uplink always gets the same ones."""

_DEFAULT_VLAN: Final = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """
    An uplink as a manager shall make it.

    Attributes:
        wish: What was asked for.
        mac: Of the bridge that we made; empty for a bridge of somebody else, which its
            own manager keeps.
        node: Name of the node, where a text must name it.
    """

    wish: UplinkWish
    mac: str
    node: str


@dataclass(frozen=True, slots=True)
class Text:
    """
    A file to be.

    Attributes:
        path: Below the root of the node's file system, without a leading slash.
        content: Everything in it.
        mode: Permissions.
    """

    path: str
    content: str
    mode: int


def _ini(sections: list[tuple[str, Mapping[str, object]]]) -> str:
    """Write sections; a value that is None or empty is left out."""
    blocks = []
    for name, pairs in sections:
        lines = [f"{key}={value}\n" for key, value in pairs.items() if value not in {None, ""}]
        blocks.append(f"[{name}]\n{''.join(lines)}")
    return _HEAD + "\n" + "\n".join(blocks)


def render_networkd(kept: Kept) -> tuple[Text, ...]:
    """
    Write the files of systemd-networkd.

    Source: systemd.netdev(5) and systemd.network(5), systemd 252.
    """
    wish = kept.wish
    place = "etc/systemd/network/10-spanbridge"
    texts = [Text(f"{place}-{wish.device}.network", _networkd_port(wish), 0o644)]
    if kept.mac:
        texts.insert(0, Text(f"{place}-{wish.bridge}.network", _networkd_bridge(wish), 0o644))
        texts.insert(0, Text(f"{place}-{wish.bridge}.netdev", _networkd_device(kept), 0o644))
    return tuple(texts)


def _networkd_device(kept: Kept) -> str:
    wish = kept.wish
    no_default = wish.vlans and not wish.creates_default_vlan
    return _ini(
        [
            ("NetDev", {"Name": wish.bridge, "Kind": "bridge", "MACAddress": kept.mac}),
            (
                "Bridge",
                {
                    "STP": "no",
                    "VLANFiltering": "yes" if wish.vlans else "no",
                    "DefaultPVID": "none" if no_default else None,
                },
            ),
        ]
    )


def _networkd_bridge(wish: UplinkWish) -> str:
    return _ini(
        [
            ("Match", {"Name": wish.bridge}),
            ("Link", {"MTUBytes": wish.mtu or None, "RequiredForOnline": "no"}),
            (
                "Network",
                {
                    "IPv6AcceptRA": "no",
                    "ConfigureWithoutCarrier": "yes",
                    # Gateway addresses of pods' networks are the CNI plugin's.
                    "KeepConfiguration": "static",
                },
            ),
        ]
    )


def _networkd_port(wish: UplinkWish) -> str:
    sections: list[tuple[str, Mapping[str, object]]] = [
        ("Match", {"Name": wish.device}),
        ("Link", {"MTUBytes": wish.mtu or None, "RequiredForOnline": "no"}),
        ("Network", {"Bridge": wish.bridge, "LinkLocalAddressing": "no", "IPv6AcceptRA": "no"}),
    ]
    default, tagged = _split(wish)
    if default:
        vlan = _DEFAULT_VLAN
        sections.append(("BridgeVLAN", {"VLAN": vlan, "PVID": vlan, "EgressUntagged": vlan}))
    sections += [("BridgeVLAN", {"VLAN": each}) for each in tagged]
    return _ini(sections)


def _split(wish: UplinkWish) -> tuple[bool, list[str]]:
    """Tell whether the default VLAN is named, and spell the others."""
    default = bool(wish.vlans) and wish.creates_default_vlan
    tagged = []
    for each in wish.vlans:
        first = each.first + 1 if default and each.first == _DEFAULT_VLAN else each.first
        if first <= each.last:
            tagged.append(f"{first}-{each.last}" if first < each.last else str(first))
    return default, tagged


def render_networkmanager(kept: Kept) -> tuple[Text, ...]:
    """
    Write the keyfiles of NetworkManager.

    Source: nm-settings-keyfile(5), NetworkManager 1.42.
    """
    wish = kept.wish
    place = "etc/NetworkManager/system-connections/spanbridge"
    port = Text(f"{place}-{wish.device}.nmconnection", _keyfile_port(wish), 0o600)
    if not kept.mac:
        return (port,)
    return (Text(f"{place}-{wish.bridge}.nmconnection", _keyfile_bridge(kept), 0o600), port)


def _connection(name: str, kind: str, **more: object) -> Mapping[str, object]:
    return {
        "id": f"spanbridge-{name}",
        "uuid": uuid.uuid5(_UUIDS, name),
        "type": kind,
        "interface-name": name,
        **{key.replace("_", "-"): value for key, value in more.items()},
    }


def _keyfile_bridge(kept: Kept) -> str:
    wish = kept.wish
    bridge: dict[str, object] = {"stp": "false"}
    if wish.vlans:
        bridge["vlan-filtering"] = "true"
        bridge["vlan-default-pvid"] = _DEFAULT_VLAN if wish.creates_default_vlan else "0"
    return _ini(
        [
            ("connection", _connection(wish.bridge, "bridge")),
            ("ethernet", {"cloned-mac-address": kept.mac.upper(), "mtu": wish.mtu or None}),
            ("bridge", bridge),
            ("ipv4", {"method": "disabled"}),
            # Not "disabled": that takes IPv6 from the bridge, also from the CNI plugin.
            ("ipv6", {"method": "link-local"}),
        ]
    )


def _keyfile_port(wish: UplinkWish) -> str:
    default, tagged = _split(wish)
    vlans = [f"{_DEFAULT_VLAN} pvid untagged"] if default else []
    connection = _connection(
        wish.device,
        "ethernet",
        # Before a profile that NetworkManager made up for the card.
        autoconnect_priority=100,
        master=wish.bridge,
        slave_type="bridge",
    )
    return _ini(
        [
            ("connection", connection),
            ("ethernet", {"mtu": wish.mtu or None}),
            ("bridge-port", {"vlans": ", ".join([*vlans, *tagged])}),
        ]
    )


def render_nmstate(kept: Kept) -> tuple[Text, ...]:
    """
    Write the NodeNetworkConfigurationPolicy for one node; it is applied, not installed.

    Source: nmstate.io/v1; nmstate 2.2, examples/linuxbrige_port_vlan.yml.
    """
    wish = kept.wish
    name = re.sub(r"[^a-z0-9.-]+", "-", f"{wish.bridge}-{kept.node}".lower()).strip("-.")
    return (Text(f"{name}.yaml", "\n".join(_policy(kept, name)) + "\n", 0o644),)


def _policy(kept: Kept, name: str) -> Iterator[str]:
    wish = kept.wish
    mtu = [f"        mtu: {wish.mtu}"] if wish.mtu else []
    if not kept.mac:
        yield f"# {wish.bridge} was there before: add this port to the policy that makes it,"
        yield "# since a list of ports takes the place of the one before."
    yield from (
        *("apiVersion: nmstate.io/v1", "kind: NodeNetworkConfigurationPolicy", "metadata:"),
        *(f"  name: {name}", "spec:", "  nodeSelector:"),
        f"    kubernetes.io/hostname: {_quoted(kept.node)}",
        *("  desiredState:", "    interfaces:"),
        *(f"      - name: {_quoted(wish.device)}", "        state: up", *mtu),
        *(f"      - name: {_quoted(wish.bridge)}", "        type: linux-bridge"),
        *("        state: up", *mtu),
    )
    if kept.mac:
        yield f"        mac-address: {_quoted(kept.mac.upper())}"
        yield "        ipv4: {enabled: false}"
    yield "        bridge:"
    if kept.mac:
        yield from ("          options:", "            stp: {enabled: false}")
        if wish.vlans and not wish.creates_default_vlan:
            yield "            vlan-default-pvid: 0"
    yield from ("          port:", f"            - name: {_quoted(wish.device)}")
    yield from _policy_vlans(wish)


def _policy_vlans(wish: UplinkWish) -> Iterator[str]:
    if not wish.vlans:
        # Without the key, kubernetes-nmstate makes a trunk of it.
        yield "              vlan: {}"
        return
    default, tagged = _split(wish)
    mode = "trunk" if tagged else "access"
    yield from ("              vlan:", f"                mode: {mode}")
    if not tagged:
        yield f"                tag: {_DEFAULT_VLAN}"
        return
    if default:
        yield from ("                enable-native: true", f"                tag: {_DEFAULT_VLAN}")
    yield "                trunk-tags:"
    for each in tagged:
        low, _, high = each.partition("-")
        tag = f"id-range: {{min: {low}, max: {high}}}" if high else f"id: {low}"
        yield f"                  - {tag}"


def _quoted(text: str) -> str:
    """Write a YAML string that is not taken for something else."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


RENDERERS: Final[Mapping[str, Callable[[Kept], tuple[Text, ...]]]] = {
    NMSTATE: render_nmstate,
    NETWORKMANAGER: render_networkmanager,
    NETWORKD: render_networkd,
}
"""By the name of the manager."""
