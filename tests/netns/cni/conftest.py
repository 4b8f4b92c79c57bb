# SPDX-License-Identifier: Apache-2.0
"""Configurations, fake delegates, and full dumps of a node and its pods."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.testing.modes import MODES
from spanbridge.testing.plugin import AskTool, MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

VERSIONS: Final = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
WAIT_S: Final = 30

SERVER: Final = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as server:
    server.settimeout(10)
    server.bind((sys.argv[1], 9999))
    print("bound", flush=True)
    print(server.recvfrom(16)[1][0])
"""
CLIENT: Final = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as client:
    client.sendto(b"hello", (sys.argv[1], 9999))
"""

LINK_FACTS: Final = (
    *("ifname", "ifindex", "address", "mtu", "master", "ifalias", "promiscuity"),
    *("link", "link_index", "txqlen"),
)
ROUTE_FACTS: Final = ("dst", "gateway", "dev", "table", "metric")


@pytest.fixture(params=MODES)
def cni_mode(request: pytest.FixtureRequest) -> str:
    """Every test runs by the one-shot program, and by shim and agent."""
    return str(request.param)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Every version of the protocol that we speak."""
    return str(request.param)


@pytest.fixture(params=VERSIONS[1:])
def checked_version(request: pytest.FixtureRequest) -> str:
    """Every version that knows CHECK."""
    return str(request.param)


@pytest.fixture
def conf() -> Callable[..., Conf]:
    """A factory of layer 2 configurations."""

    def make(**fields: Any) -> Conf:  # noqa: ANN401  # JSON
        base = {"cniVersion": "1.1.0", "name": "net1", "type": "bridge", "bridge": "br0"}
        return base | fields

    return make


@pytest.fixture
def lease_dir(tmp_path: Path) -> Path:
    """Where host-local keeps its files in a test."""
    return tmp_path / "leases"


@pytest.fixture
def layer3(conf: Callable[..., Conf], lease_dir: Path) -> Callable[..., Conf]:
    """A factory of configurations with host-local and one range for each subnet."""

    def make(*subnets: str, ipam: Conf | None = None, **fields: Any) -> Conf:  # noqa: ANN401
        ranges = [[{"subnet": subnet}] for subnet in subnets or ("10.1.2.0/24",)]
        section = {"type": "host-local", "dataDir": str(lease_dir), "ranges": ranges}
        return conf(ipam=section | (ipam or {}), **fields)

    return make


@pytest.fixture
def leases(lease_dir: Path) -> Callable[[], dict[str, str]]:
    """Reads who holds which address."""

    def read() -> dict[str, str]:
        return {
            f"{path.parent.name}/{path.name}": path.read_text()
            for path in sorted(lease_dir.glob("*/*"))
            if _is_address(path.name)
        }

    return read


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@pytest.fixture
def sh() -> Callable[[Netns, str], str]:
    """Runs one command line in a namespace."""
    return lambda netns, line: netns.run(*shlex.split(line))


@pytest.fixture
def links(ip_json: AskTool) -> Callable[[Netns], dict[str, Any]]:
    """Reads all links of a namespace, by name."""
    return lambda netns: {each["ifname"]: each for each in ip_json("link", netns=netns)}


@pytest.fixture
def addresses(ip_json: AskTool) -> Callable[[Netns, str], list[str]]:
    """Reads the addresses of a link that are not link-local, with their prefix lengths."""

    def read(netns: Netns, device: str) -> list[str]:
        found = ip_json("addr", "show", "dev", device, netns=netns)[0]["addr_info"]
        return [
            f"{each['local']}/{each['prefixlen']}" for each in found if each["scope"] == "global"
        ]

    return read


@pytest.fixture
def routes(ip_json: AskTool) -> Callable[[Netns], set[tuple[str, str | None]]]:
    """Reads destination and next hop of a namespace's unicast routes, all tables."""

    def read(netns: Netns) -> set[tuple[str, str | None]]:
        found = [
            *ip_json("-4", "route", "show", "table", "all", "type", "unicast", netns=netns),
            *ip_json("-6", "route", "show", "table", "all", "type", "unicast", netns=netns),
        ]
        return {(each["dst"], each.get("gateway")) for each in found}

    return read


@pytest.fixture
def dump(
    ip_json: AskTool, nft_json: AskTool, leases: Callable[[], dict[str, str]]
) -> Callable[..., dict[str, Any]]:
    """
    Reads everything that a call may change; two dumps are equal when nothing did.

    Link-local addresses are left out: the kernel gives them to a link a while after it is up.
    """

    def read(*places: Netns) -> dict[str, Any]:
        seen: dict[str, Any] = {"leases": leases()}
        for netns in places:
            listed = ip_json("addr", netns=netns)
            found = [
                (family, {key: each.get(key) for key in ROUTE_FACTS})
                for family in ("-4", "-6")
                for each in ip_json(family, "route", "show", "table", "all", netns=netns)
                if not each["dst"].startswith(("fe80:", "ff00:"))
            ]
            rules = nft_json("list", "ruleset", netns=netns)
            seen[netns.name] = {
                "links": [_link(each) for each in listed],
                "addresses": [
                    (each["ifname"], one["local"], one["prefixlen"])
                    for each in listed
                    for one in each["addr_info"]
                    if not one["local"].startswith("fe80:")
                ],
                "routes": sorted(map(str, found)),
                "nft": sorted(map(_rule, rules)),
            }
        return seen

    return read


def _rule(listed: dict[str, Any]) -> str:
    # A rule that was put back as it was has another handle, and elements have no order.
    kind, each = next(iter(listed.items()))
    return f"{kind} {each | {'handle': None, 'elem': sorted(map(str, each.get('elem', [])))}}"


def _link(listed: dict[str, Any]) -> dict[str, Any]:
    # Carrier follows the other end a moment later.
    switches = {"UP", "PROMISC", "ALLMULTI"} & set(listed["flags"])
    return {key: listed.get(key) for key in LINK_FACTS} | {"flags": sorted(switches)}


@pytest.fixture
def spawn(cni: Cni) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts a call and does not wait for its end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        verb: str,
        conf: Conf,
        pod: Netns | None,
        *,
        container: str = "c1",
        ifname: str = "eth0",
        **env: str,
    ) -> "subprocess.Popen[bytes]":
        environ = cni.environment(verb, pod, container=container, ifname=ifname, args="")
        process = subprocess.Popen(
            cni.command("bridge"),
            env=environ | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(json.dumps(conf).encode())
        process.stdin.close()
        process.stdin = None
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def delegate(tmp_path: Path, cni: Cni) -> Callable[[str], dict[str, str]]:
    """
    Writes a shell script as the IPAM plugin `fake`; the environment that finds it.

    The script logs the verbs it was called with; the fixture `called` reads them.
    """

    def write(body: str) -> dict[str, str]:
        place = tmp_path / "plugins"
        place.mkdir(exist_ok=True)
        program = place / "fake"
        program.write_text(f'#!/bin/sh\necho "$CNI_COMMAND" >> "{tmp_path}/verbs"\n{body}\n')
        program.chmod(0o755)
        return {"CNI_PATH": f"{place}:{cni.bin_dir}"}

    return write


@pytest.fixture
def called(tmp_path: Path) -> Callable[[], list[str]]:
    """Reads the verbs that the IPAM plugin `fake` was called with."""

    def read() -> list[str]:
        log = tmp_path / "verbs"
        return log.read_text().split() if log.exists() else []

    return read


@pytest.fixture
def outside(node: Netns, netns: MakeNetns, sh: Callable[[Netns, str], str]) -> Netns:
    """
    A host behind the node that knows no way to the pods.

    It is 172.16.0.2 and fd99::2, the node is .1 on the link to it.
    """
    there = netns("outside")
    sh(node, f"ip link add up0 type veth peer name eth0 netns {there.name}")
    for where, device, number in ((node, "up0", 1), (there, "eth0", 2)):
        sh(where, f"ip addr add 172.16.0.{number}/24 dev {device}")
        sh(where, f"ip addr add fd99::{number}/64 dev {device} nodad")
        sh(where, f"ip link set {device} up")
    return there


@pytest.fixture
def seen_from() -> Callable[[Netns, str, Netns], str]:
    """Sends a datagram to a server in a namespace; the address that the server saw."""

    def ask(server: Netns, address: str, client: Netns) -> str:
        python = [sys.executable, "-IS", "-c"]
        enter = ("ip", "netns", "exec")
        with subprocess.Popen(
            [*enter, server.name, *python, SERVER, address],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONWARNINGS": "default"},
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            client.run(*python, CLIENT, address)
            said, _ = process.communicate(timeout=WAIT_S)
        return said.decode().strip()

    return ask


@pytest.fixture
def port_flags(bridge_json: AskTool) -> Callable[[Netns], dict[str, Any]]:
    """Reads the bridge ports of a namespace, by name, as ``bridge link`` shows them."""

    def read(netns: Netns) -> dict[str, Any]:
        return {each["ifname"]: each for each in bridge_json("link", "show", netns=netns)}

    return read


@pytest.fixture
def elements(nft_json: AskTool) -> Callable[[Netns], list[str]]:
    """Reads every element of every set and map in a namespace, as text."""

    def read(netns: Netns) -> list[str]:
        found = nft_json("list", "ruleset", netns=netns)
        holders = [each.get("set") or each.get("map") or {} for each in found]
        return [json.dumps(one) for each in holders for one in each.get("elem", [])]

    return read


@pytest.fixture
def listening() -> Iterator[Callable[[Netns, str], Callable[[], str]]]:
    """Starts a Python text that says "ready" first; the function returned gives its next line."""
    started: list[subprocess.Popen[str]] = []

    def start(netns: Netns, source: str) -> Callable[[], str]:
        process = subprocess.Popen(
            ["ip", "netns", "exec", netns.name, sys.executable, "-IS", "-c", source],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"

        def rest() -> str:
            return process.communicate(timeout=WAIT_S)[0].strip()

        return rest

    yield start
    for process in started:
        process.kill()
        process.communicate()
