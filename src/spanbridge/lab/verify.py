# SPDX-License-Identifier: Apache-2.0
"""
Measuring a lab that is up: who reaches whom, in which VLAN, and who must not.

Every virt-handler asks every other at once while the fabric's trunks are captured;
then a pod without the VLAN tries to reach them and must fail.
"""

import contextlib
import dataclasses
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.build import build_pod
from spanbridge.lab.gateway import count_leaked, measure_gateway
from spanbridge.lab.leases import prove_leases
from spanbridge.lab.parallel import on_each
from spanbridge.lab.ping import PingResult, PingSettings, open_echo_socket, ping
from spanbridge.lab.pods import pod_address
from spanbridge.lab.proofs import GatewayProof
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import FABRIC_NETNS, Lab, Node, Pod
from spanbridge.lab.verdict import Isolation, Pair, Trunk, Verdict
from spanbridge.probing.capture import TagCount, count_tags, open_capture, read_capture
from spanbridge.rtnl import NetNs, delete_named_netns

Step = Callable[[str], None]
"""Called with what is being done next, in a few words."""

_FRAMES_PER_ECHO: Final = 2


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """
    How to measure.

    Attributes:
        pairs: For the pairs that must reach each other: patient, since a slow kernel is no fault.
        isolation: For the pod that must reach nobody: the pairs were proved just before, in
            milliseconds, so seconds of silence tell enough.
    """

    pairs: PingSettings = field(default_factory=PingSettings)
    isolation: PingSettings = field(default_factory=lambda: PingSettings(patience_s=3.0))


def verify_lab(
    runtime: Runtime, *, settings: VerifySettings | None = None, step: Step = lambda _: None
) -> Verdict:
    """
    Measure everything.

    Raises:
        NodeError: Something could not be measured.
    """
    lab, chosen = runtime.lab, settings or VerifySettings()
    step("checking every attachment with CNI CHECK")
    faults = on_each(lambda each: _fault(runtime, *each), lab.attachments())
    addresses = {node.name: pod_address(pod) for node, pod in lab.attachments()}
    with _captures(lab) as captures:
        step("pinging every virt-handler from every other")
        pairs = _measure_pairs(lab, addresses, chosen.pairs)
        step("trying the same from a pod without the VLAN")
        isolation = _measure_isolation(
            runtime, tuple(filter(None, addresses.values())), chosen.isolation
        )
        gateway = _measure_gateway(lab, addresses, step)
        recordings = {node: read_capture(capture) for node, capture in captures.items()}
    counts = {node: count_tags(recording) for node, recording in recordings.items()}
    if gateway is not None:
        leaked = count_leaked(recordings.values(), gateway.address)
        gateway = dataclasses.replace(gateway, leaked=leaked)
    return Verdict(
        vlan=lab.vlan,
        nodes=tuple(addresses),
        addresses=addresses,
        pairs=pairs,
        trunks=tuple(_trunk(node, count, pairs) for node, count in counts.items()),
        isolation=isolation,
        faults=tuple(filter(None, faults)),
        leases=prove_leases(runtime, lab.dhcp, addresses) if lab.dhcp is not None else None,
        gateway=gateway,
    )


def _measure_gateway(lab: Lab, addresses: dict[str, str], step: Step) -> GatewayProof | None:
    """Measure it where it is on the nodes, and somebody is outside who could see it."""
    handler = next(filter(None, addresses.values()), "")
    if not lab.has_gateway or not handler:
        return None
    step("asking by ARP for the gateway, from the fabric and from every pod")
    return measure_gateway(lab, handler)


def _fault(runtime: Runtime, node: Node, pod: Pod) -> str:
    """Name what CHECK finds wrong; empty where all is as ADD promised."""
    try:
        runtime.check(node, pod)
    except NodeError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def _captures(lab: Lab) -> Iterator[dict[str, socket.socket]]:
    """Capture on the fabric's port to each node."""
    with contextlib.ExitStack() as stack:
        fabric = stack.enter_context(NetNs.open(FABRIC_NETNS))
        yield {node.name: stack.enter_context(fabric.run(_opener(node.name))) for node in lab.nodes}


def _opener(port: str) -> Callable[[], socket.socket]:
    return lambda: open_capture(port)


def _measure_pairs(lab: Lab, addresses: dict[str, str], settings: PingSettings) -> tuple[Pair, ...]:
    def measure(node: Node) -> list[Pair]:
        others = {name: address for name, address in addresses.items() if name != node.name}
        asked = tuple(filter(None, others.values()))
        answers = {each.target: each for each in ping_from(node.handler, asked, settings)}
        return [
            Pair(node.name, name, answers.get(address) or PingResult(address, 0, ()))
            for name, address in others.items()
        ]

    return tuple(pair for pairs in on_each(measure, lab.nodes) for pair in pairs)


def ping_from(pod: Pod, targets: tuple[str, ...], settings: PingSettings) -> tuple[PingResult, ...]:
    """Ask ``targets`` from within ``pod``."""
    with NetNs.open(pod.netns) as netns, netns.run(open_echo_socket) as sock:
        return ping(sock, targets, settings)


def _measure_isolation(
    runtime: Runtime, targets: tuple[str, ...], settings: PingSettings
) -> Isolation:
    node, pod = runtime.lab.outsider_node, runtime.lab.outsider
    build_pod(pod)
    try:
        runtime.add(node, pod)
        try:
            address = pod_address(pod)
            pings = ping_from(pod, targets, settings)
        finally:
            runtime.delete(node, pod)
    finally:
        delete_named_netns(pod.netns)
    return Isolation(node.name, pod.network, address, pings)


def _trunk(node: str, count: TagCount, pairs: tuple[Pair, ...]) -> Trunk:
    crossing = (pair.ping.received for pair in pairs if node in {pair.source, pair.target})
    return Trunk(node, count, expected=_FRAMES_PER_ECHO * sum(crossing))
