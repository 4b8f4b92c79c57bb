# SPDX-License-Identifier: Apache-2.0
"""
A lab from what `spanbridge plan` wrote: its files are read, and nothing else.

What a cluster's operators would do with them is done by the lab: NMState's policies become
bridges and ports, uplink scripts are run, node configurations lie on their nodes. The one
stand-in is whereabouts: it keeps its records in an API server, which no lab has, so
host-local hands out the same range, with one store for each cluster.
"""

import ipaddress
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from spanbridge.base.errors import InputError
from spanbridge.kube.source import read_source
from spanbridge.lab.topology import (
    IpamKind,
    LabParameters,
    PlannedLab,
    PlannedNode,
    Wiring,
)

Conf = dict[str, Any]

_HOSTNAME: Final = "kubernetes.io/hostname"
_COMMAND: Final = "exec spanbridge "
_SERVER: Final = re.compile(r"^#\s+ip address add (\S+)/(\d+) dev ", re.MULTILINE)
_RANGE: Final = re.compile(r"^dhcp-range=([^,]+),([^,]+),", re.MULTILINE)


def read_planned(directory: Path, *, nodes: int) -> LabParameters:
    """
    Read a directory that `spanbridge plan` wrote.

    Args:
        directory: The one given to ``plan -o``.
        nodes: Nodes of each cluster whose nodes have no names in the plan.

    Raises:
        InputError: It is no such directory, or nothing that a lab can be.
    """
    files = sorted(directory.glob("*/network.yaml"))
    if not files:
        raise InputError(
            f"cannot use --plan {directory}: no cluster's network.yaml is in it",
            hint="make it with: spanbridge plan INTENT -o DIR",
        )
    planned = tuple(node for file in files for node in _read_cluster(file.parent, nodes))
    first: Conf = json.loads(planned[0].config)
    file = directory / "dnsmasq.conf"
    dnsmasq = file.read_text() if file.exists() else ""
    subnet = _subnet(first["ipam"], dnsmasq)
    outsider = _unplanned_address(planned, dnsmasq, subnet)
    return LabParameters(
        clusters=tuple(file.parent.name for file in files),
        nodes=nodes,
        vlan=first.get("vlan", 0),
        subnet=str(subnet),
        mtu=first["mtu"],
        ipam=IpamKind.DHCP if dnsmasq else IpamKind.HOST_LOCAL,
        planned=_with_server(PlannedLab(planned, outsider, dnsmasq)),
    )


def _with_server(planned: PlannedLab) -> PlannedLab:
    """Read the DHCP server's address and the ends of what it hands out, if there is one."""
    if not planned.dnsmasq:
        return planned
    ((address, _),) = _SERVER.findall(planned.dnsmasq)
    ranges = _RANGE.findall(planned.dnsmasq)
    return replace(planned, server=address, pool=(ranges[0][0], ranges[-1][1]))


def _read_cluster(directory: Path, nodes: int) -> Iterator[PlannedNode]:
    (document,) = read_source(directory / "network.yaml")
    value: Any = document.value
    shared = value["spec"].get("config", "")
    named = {file.stem: file.read_text() for file in sorted(directory.glob("nodes/*.conf"))}
    wirings = list(_read_wirings(directory))
    if not shared and not named:
        raise InputError(
            f"cannot use {directory / 'network.yaml'}: it has no configuration and no node has one",
            hint="plan again",
        )
    for number in range(len(named) or nodes):
        name = list(named)[number] if named else ""
        config = named.get(name, shared)
        yield PlannedNode(directory.name, config, _wire(wirings, json.loads(config), name, number))


def _wire(
    wirings: Sequence[tuple[Wiring, Sequence[str]]], conf: Conf, name: str, number: int
) -> Wiring:
    """Choose how a node is prepared: by its name, or else in turn among what has its bridge."""
    if "uplink" in conf:
        return Wiring(conf["bridge"], conf["uplink"])
    fitting = [
        (wiring, names)
        for wiring, names in wirings
        if wiring.bridge == conf["bridge"] and (not names or name in names)
    ]
    own = [each for each in fitting if name in each[1]] or fitting
    if not own:
        raise InputError(
            f"cannot prepare node {name or number + 1}: neither a policy nor an uplink script "
            f"makes its bridge {conf['bridge']}",
            hint="plan again",
        )
    return own[number % len(own)][0]


def _read_wirings(directory: Path) -> Iterator[tuple[Wiring, Sequence[str]]]:
    """Read policies and uplink scripts, each with the names of its nodes; none is any node."""
    policies = directory / "bridges.yaml"
    for document in read_source(policies) if policies.exists() else ():
        policy: Any = document.value
        host = policy["spec"].get("nodeSelector", {}).get(_HOSTNAME)
        links = policy["spec"]["desiredState"]["interfaces"]
        (bridge,) = (link for link in links if link["type"] == "linux-bridge")
        (port,) = bridge["bridge"]["port"]
        vlans = tuple(tag["id"] for tag in port["vlan"].get("trunk-tags", []))
        yield Wiring(bridge["name"], port["name"], bridge["mtu"], vlans), [host] if host else []
    for script in sorted(directory.glob("uplink-*.sh")):
        lines = script.read_text().splitlines()
        (command,) = (line for line in lines if line.startswith(_COMMAND))
        named = [line.removeprefix("# Nodes: ") for line in lines if line.startswith("# Nodes: ")]
        words = shlex.split(command.removeprefix(_COMMAND))
        bridge_name = words[words.index("--bridge") + 1]
        yield Wiring(bridge_name, words[2], command=tuple(words)), " ".join(named).split()


def _subnet(ipam: Conf, dnsmasq: str) -> ipaddress.IPv4Network:
    rows = ipam.get("ipRanges", [ipam]) if ipam["type"] == "whereabouts" else []
    texts = [row["range"] for row in rows]
    texts += [row["subnet"] for ranges in ipam.get("ranges", []) for row in ranges]
    texts += [each["address"] for each in ipam.get("addresses", [])]
    texts += ["/".join(pair) for pair in _SERVER.findall(dnsmasq)]
    for text in texts:
        network = ipaddress.ip_network(text, strict=False)
        if isinstance(network, ipaddress.IPv4Network):
            return network
    raise InputError(
        "cannot use the plan: it has no IPv4 subnet, and the lab asks by ICMP",
        hint="give the intent an IPv4 subnet beside the IPv6 one",
    )


def _unplanned_address(
    planned: Sequence[PlannedNode], dnsmasq: str, subnet: ipaddress.IPv4Network
) -> str:
    """Find an address that the plan gives to nobody, such as the router's."""
    taken = [pair for node in planned for pair in _handed_out(json.loads(node.config)["ipam"])]
    pairs = [*_RANGE.findall(dnsmasq), *((ip, ip) for ip, _ in _SERVER.findall(dnsmasq))]
    taken += [(ipaddress.IPv4Address(a), ipaddress.IPv4Address(b)) for a, b in pairs]
    for ip in subnet.hosts():
        if not any(first <= ip <= last for first, last in taken):
            return str(ip)
    raise InputError(f"cannot use the plan: every address of {subnet} is somebody's")


def _handed_out(ipam: Conf) -> Iterator[tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]]:
    for ranges in render_host_local(ipam, "").get("ranges", []):
        for row in ranges:
            first, last = (ipaddress.ip_address(row[key]) for key in ("rangeStart", "rangeEnd"))
            if isinstance(first, ipaddress.IPv4Address) and isinstance(last, ipaddress.IPv4Address):
                yield first, last
    for each in ipam.get("addresses", []):
        ip = ipaddress.ip_interface(each["address"]).ip
        if isinstance(ip, ipaddress.IPv4Address):
            yield ip, ip


def render_host_local(ipam: Conf, data_dir: str) -> Conf:
    """Have host-local do what whereabouts would; others stay, host-local with its own store."""
    if ipam["type"] == "host-local":
        return {**ipam, "dataDir": data_dir}
    if ipam["type"] != "whereabouts":
        return ipam
    rows = ipam.get("ipRanges", [ipam])
    ranges = [[*_pieces(row)] for row in rows]
    return {"type": "host-local", "ranges": ranges, "dataDir": data_dir}


def _pieces(row: Conf) -> Iterator[Conf]:
    """Cut a range of whereabouts at what it excludes."""
    start = int(ipaddress.ip_address(row["range_start"]))
    end = int(ipaddress.ip_address(row["range_end"]))
    kind = type(ipaddress.ip_address(row["range_start"]))
    holes = sorted(
        (int(net.network_address), int(net.broadcast_address))
        for net in map(ipaddress.ip_network, row.get("exclude", []))
    )
    for first, last in [*holes, (end + 1, end + 1)]:
        if start < first:
            yield {
                "subnet": row["range"],
                "rangeStart": str(kind(start)),
                "rangeEnd": str(kind(min(first - 1, end))),
            }
        start = max(start, last + 1)
