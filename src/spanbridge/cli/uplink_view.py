# SPDX-License-Identifier: Apache-2.0
"""What `spanbridge uplink` tells, drawn for a terminal and as JSON; every function is pure."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from spanbridge.bridge.uplink.plan import (
    BRIDGE_MTU,
    BRIDGE_UP,
    CREATE_BRIDGE,
    DEVICE_MTU,
    DEVICE_UP,
    ENSLAVE,
    FOLLOW_MTU,
    VLANS,
    Change,
)
from spanbridge.bridge.uplink.show import Uplink, faults, spell
from spanbridge.model.uplink import UplinkWish
from spanbridge.rtnl import PortVlan


def made_words(change: Change, wish: UplinkWish) -> str:
    """Say what a change made."""
    filtering = " that filters VLANs" if wish.vlans else ""
    words = {
        CREATE_BRIDGE: f"made bridge {wish.bridge}{filtering}, MAC {change.mac}",
        BRIDGE_MTU: f"set the MTU of {wish.bridge} to {change.after}",
        FOLLOW_MTU: f"left the MTU of {wish.bridge}, {change.before}, to the kernel",
        BRIDGE_UP: f"set {wish.bridge} up",
        DEVICE_MTU: f"set the MTU of {wish.device} to {change.after}",
        ENSLAVE: f"made {wish.device} a port of {wish.bridge}",
        VLANS: "; ".join(_vlan_words(change, wish)),
        DEVICE_UP: f"set {wish.device} up",
    }
    return words[change.kind]


def _vlan_words(change: Change, wish: UplinkWish) -> list[str]:
    words = []
    if change.added:
        words.append(f"allowed VLAN {spell(list(change.added))} on {wish.device}")
    if change.removed:
        words.append(f"took VLAN {spell(list(change.removed))} from {wish.device}")
    return words


def undone_words(change: Change, wish: UplinkWish) -> str:
    """Say what undoing a change did."""
    words = {
        CREATE_BRIDGE: f"removed bridge {wish.bridge}",
        BRIDGE_MTU: f"set the MTU of {wish.bridge} back to {change.before}",
        FOLLOW_MTU: f"set the MTU of {wish.bridge} back to {change.before}",
        BRIDGE_UP: f"set {wish.bridge} down",
        DEVICE_MTU: f"set the MTU of {wish.device} back to {change.before}",
        ENSLAVE: f"took {wish.device} from {wish.bridge}",
        VLANS: f"took VLAN {spell(list(change.added))} from {wish.device}",
        DEVICE_UP: f"set {wish.device} down",
    }
    return words[change.kind]


def _spell_vlans(vlans: Sequence[PortVlan]) -> str:
    words = []
    for each in vlans:
        text = spell([(each.vid, each.vid_end)])
        if each.pvid and each.untagged:
            text += " untagged"
        elif each.untagged:
            text += " untagged out"
        elif each.pvid:
            text += " untagged in"
        words.append(text)
    return ", ".join(words) or "-"


def _state(one: Uplink) -> str:
    if one.link is None:
        return "gone"
    if not one.is_port:
        return "no port"
    return "down" if not one.link.up else "up" if one.link.carrier else "no carrier"


def _mtu(one: Uplink) -> str:
    return str(one.link.mtu) if one.link is not None else "-"


def show_view(uplinks: Sequence[Uplink]) -> RenderableType:
    """Draw a table, and below it what is wrong with the command that mends it."""
    if not uplinks:
        return Text("no bridge of this node has an uplink")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for heading in ("bridge", "uplink", "state", "mtu", "vlans", "made by"):
        table.add_column(heading, overflow="fold")
    lines: list[RenderableType] = [table]
    for one in uplinks:
        state = Text(_state(one), style="" if _state(one) == "up" else "red")
        maker = "uplink ensure" if one.record is not None else "-"
        vlans = _spell_vlans(one.vlans)
        table.add_row(one.bridge, one.device, state, _mtu(one), vlans, maker)
        for fault in faults(one):
            lines.append(Text(f"✗ {one.device}: {fault.cause}", style="red"))
            lines.append(Text(f"  {fault.remedy}"))
    return Group(*lines)


def render_uplink(one: Uplink) -> dict[str, object]:
    """Render one uplink as a JSON object."""
    wish = one.record.wish if one.record is not None else None
    return {
        "device": one.device,
        "bridge": one.bridge,
        "present": one.link is not None,
        "port": one.is_port,
        "up": one.link is not None and one.link.up,
        "carrier": one.link is not None and one.link.carrier,
        "mtu": one.link.mtu if one.link is not None else None,
        "bridgeMtu": one.bridge_link.mtu if one.bridge_link is not None else None,
        "vlans": [
            {
                "vlan": each.vid,
                "vlanEnd": each.vid_end,
                "pvid": each.pvid,
                "untagged": each.untagged,
            }
            for each in one.vlans
        ],
        "asked": None
        if wish is None
        else {"vlans": [str(each) for each in wish.vlans], "mtu": wish.mtu or None},
        "files": [each.path for each in one.record.files] if one.record is not None else [],
        "faults": [{"cause": each.cause, "remedy": each.remedy} for each in faults(one)],
    }
