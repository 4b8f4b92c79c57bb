# SPDX-License-Identifier: Apache-2.0
"""What is there before a fault is made, as commands that bring it back."""

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.faults.recipes import Step, run, sh
from spanbridge.lab.faults.steps import run_in
from spanbridge.lab.topology import FABRIC_BRIDGE, FABRIC_NETNS, POD_INTERFACE, Lab, Pod

THERE: Final = ("File exists", "already assigned")
"""What `ip` says when it is asked to add what is there."""


def ask(netns: str, *words: str) -> Any:  # noqa: ANN401  # JSON of another tool
    """Run a tool that prints JSON, and read it."""
    return json.loads(run_in(netns, words) or "[]")


def link(netns: str, name: str) -> dict[str, Any]:
    """
    Read a link as ``ip -d -j`` shows it.

    Raises:
        NodeError: There is none.
    """
    for each in ask(netns, "ip", "-d", "-j", "link", "show"):
        if each["ifname"] == name:
            return dict(each)
    raise NodeError(f"cannot find {name} in {netns}", hint="look at `spanbridge lab status`")


def filters_vlans(netns: str, bridge: str) -> bool:
    """Tell whether a bridge filters VLANs."""
    return bool(link(netns, bridge)["linkinfo"]["info_data"].get("vlan_filtering"))


def fabric_filters() -> bool:
    """Tell whether the fabric knows VLANs: on a kernel without filtering it does not."""
    return filters_vlans(FABRIC_NETNS, FABRIC_BRIDGE)


def port_vlans(netns: str, port: str) -> list[tuple[str, list[str]]]:
    """Read the VLANs of a port: each span as ``bridge`` takes it, and its flags."""
    found = ask(netns, "bridge", "-j", "-compressvlans", "vlan", "show", "dev", port)
    return [
        (_span(each), [_FLAGS[flag] for flag in each.get("flags", []) if flag in _FLAGS])
        for each in (found[0]["vlans"] if found else [])
    ]


_FLAGS: Final = {"PVID": "pvid", "Egress Untagged": "untagged"}


def _span(entry: dict[str, Any]) -> str:
    first, last = entry["vlan"], entry.get("vlanEnd", entry["vlan"])
    return str(first) if first == last else f"{first}-{last}"


def bring_back_vlans(netns: str, port: str) -> tuple[Step, ...]:
    """Make the steps that give a port the VLANs which it has now."""
    return tuple(
        run(netns, "bridge", "vlan", "add", "dev", port, "vid", span, *flags)
        for span, flags in port_vlans(netns, port)
    )


def addresses(netns: str, device: str) -> list[dict[str, Any]]:
    """Read the global addresses of a device, in the kernel's order."""
    found = ask(netns, "ip", "-j", "address", "show", "dev", device, "scope", "global")
    # Some versions of `ip` write an empty object where a filter leaves nothing.
    return [info for each in found for info in each.get("addr_info", ()) if info]


def pod_addresses(pod: Pod) -> list[str]:
    """
    Read the addresses of a pod with their prefix length; IPv4 first.

    Raises:
        NodeError: It has none.
    """
    infos = addresses(pod.netns, POD_INTERFACE)
    infos.sort(key=lambda each: str(each["family"]))
    if not infos:
        raise NodeError(f"cannot change the address of {pod.name}: it has none")
    return [f"{each['local']}/{each['prefixlen']}" for each in infos]


def take_addresses(pod: Pod) -> tuple[Step, ...]:
    """Make the steps that take all global addresses off a pod."""
    gone = ("Cannot assign requested address", "Cannot find device", "address not found")
    return tuple(
        sh(pod.netns, f"ip address del {each} dev {POD_INTERFACE}", already=gone)
        for each in pod_addresses(pod)
    )


def bring_back_addresses(pod: Pod) -> tuple[Step, ...]:
    """Make the steps that give a pod the addresses and routes which it has now."""
    return (*_address_steps(pod), *_route_steps(pod))


def _address_steps(pod: Pod) -> Iterator[Step]:
    for info in addresses(pod.netns, POD_INTERFACE):
        words = ["ip", "address", "add", f"{info['local']}/{info['prefixlen']}"]
        if "broadcast" in info:
            words += ["broadcast", info["broadcast"]]
        if info["family"] == "inet6":
            words += ["nodad"]
        yield run(pod.netns, *words, "dev", POD_INTERFACE, already=THERE)


def _route_steps(pod: Pod) -> Iterator[Step]:
    """Leave out what the kernel makes by itself with the address."""
    for family in ("-4", "-6"):
        for line in run_in(
            pod.netns, ("ip", family, "route", "show", "dev", POD_INTERFACE)
        ).splitlines():
            if "proto kernel" not in line:
                words = ["ip", family, "route", "add", *shlex.split(line), "dev", POD_INTERFACE]
                yield run(pod.netns, *words, already=THERE)


def smaller_mtu(mtu: int) -> int:
    """Choose an MTU that is too small where ``mtu`` was meant: that of everybody's Ethernet."""
    return _ETHERNET if mtu > _ETHERNET else max(mtu - _LESS, _LEAST)


_ETHERNET: Final = 1500
_LESS: Final = 100
_LEAST: Final = 512


def restored_mtu(netns: str, device: str) -> Step:
    """Make the step that gives a device the MTU which it has now."""
    return sh(netns, f"ip link set dev {device} mtu {link(netns, device)['mtu']}")


def lab_addresses(lab: Lab, clusters: Sequence[str]) -> Iterator[str]:
    """Read what the virt-handlers of clusters have, without prefix length."""
    for node in lab.nodes:
        if node.cluster in clusters:
            for info in addresses(node.handler.netns, POD_INTERFACE):
                if info["family"] == "inet":
                    yield str(info["local"])
