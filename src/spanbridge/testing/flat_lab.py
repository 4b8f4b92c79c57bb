# SPDX-License-Identifier: Apache-2.0
"""A lab over bridges that filter no VLANs: for kernels without, and built in a second."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spanbridge.lab.build import find_netns, release_netns
from spanbridge.lab.place import Place, Record
from spanbridge.lab.processes import end_processes
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import (
    FABRIC_NETNS,
    IpamKind,
    LabParameters,
    Node,
    Pod,
    plan_lab,
    sync_pods,
)
from spanbridge.testing.kernel_state import read_kernel
from spanbridge.testing.plugin import run

_PROGRAMS: Final = Path("/usr/lib/cni")
"""Not ours, so that no agent is looked for; never called."""


@contextmanager
def flat_lab(place: Place, parameters: LabParameters) -> Iterator[Runtime]:
    """
    Build a lab whose pods have addresses of their nodes' ranges; it goes with the block.

    Sync controllers' pods are there too, as the runtime would have attached them.
    """
    place.write(Record(parameters, _PROGRAMS, complete=True))
    runtime = Runtime(plan_lab(parameters), place, _PROGRAMS)
    if runtime.lab.parameters.ipam is not IpamKind.HOST_LOCAL:
        raise ValueError("a flat lab has no DHCP server")
    try:
        _build(runtime)
        yield runtime
    finally:
        end_processes(find_netns())
        release_netns()


def _build(runtime: Runtime) -> None:
    _make_netns(FABRIC_NETNS)
    _batch(FABRIC_NETNS, "link add fabric mtu 1500 type bridge", "link set fabric up")
    for number, node in enumerate(runtime.lab.nodes, start=1):
        _make_netns(node.netns)
        _batch(
            FABRIC_NETNS,
            f"link add {node.name} type veth peer eth1 netns {node.netns}",
            f"link set {node.name} master fabric up",
        )
        _batch(
            node.netns,
            # A bridge takes the lowest address of its ports, but its IPv6 address from what that
            # was when it came up: after a fault both would be new.
            f"link add br-mig address 02:53:42:00:{number >> 8:02x}:{number & 255:02x} "
            "mtu 1500 type bridge",
            "link set eth1 master br-mig up",
        )
        _attach(runtime, node, node.handler, at=0)
        _batch(node.netns, "link set br-mig up")
    for number, each in enumerate(sync_pods(runtime.lab), start=1):
        _attach(runtime, each.node, each.pod, at=number)
    _await_quiet()


def _make_netns(name: str) -> None:
    run("ip", "netns", "add", name)
    run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")


def _attach(runtime: Runtime, node: Node, pod: Pod, *, at: int) -> None:
    """Do what CNI ADD would, and note its result."""
    address = f"{pod.addresses.first + at}/{runtime.lab.subnet.prefixlen}"
    _make_netns(pod.netns)
    _batch(
        node.netns,
        f"link add veth{at} type veth peer migration0 netns {pod.netns}",
        f"link set veth{at} master br-mig up",
    )
    _batch(
        pod.netns,
        "link set lo up",
        "link set migration0 up",
        f"address add {address} dev migration0",
        f"route add default via {runtime.lab.gateway} dev migration0",
    )
    result = runtime.place.result_file(pod)
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps({"ips": [{"address": address}]}))


def _batch(netns: str, *lines: str) -> None:
    run("ip", "-netns", netns, "-batch", "-", stdin="\n".join(lines))


def _await_quiet() -> None:
    """Wait until links are up and IPv6 has its addresses: nothing changes by itself then."""
    last: dict[str, str] = {}
    while (now := read_kernel(find_netns())) != last or "UNKNOWN" in _operstates(now):
        last = now
        time.sleep(0.3)


def _operstates(state: dict[str, str]) -> list[str]:
    """Tell what the links say of themselves, but for loopback, which never knows."""
    texts = [text for key, text in state.items() if key.endswith("link show")]
    links = [each for text in texts for each in json.loads(text)]
    return [each["operstate"] for each in links if each["ifname"] != "lo"]
