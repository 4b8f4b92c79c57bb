# SPDX-License-Identifier: Apache-2.0
"""
What this node's pods see of the network, for whoever verifies from afar: `agent probe`.

Requests come on standard input and answers go to standard output, one JSON object a line
and in any order: an answer bears the ``id`` of its request. It ends with its input.

======== ============================================== ==============================
``do``   with                                           answers
======== ============================================== ==============================
look     cluster, node, expected, bridge, uplink, pods, node, endpoints, missing
         trusted, known, agent
listen   -                                              -
probe    source, target                                 probe
claims   asker, gateways                                claims
strays   -                                              strays
======== ============================================== ==============================
"""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spanbridge import __version__
from spanbridge.agent.pod_netns import PodIdentity, find_pod_netns
from spanbridge.base.errors import InputError, NodeError, SpanbridgeError
from spanbridge.model.compact import parse_compact, render_compact
from spanbridge.model.node_state import LinkState
from spanbridge.model.observations import Endpoint, Expectations, NodeFacts, Role
from spanbridge.model.reader import Node, parse_object
from spanbridge.probing.dial import Credentials, Dialler
from spanbridge.probing.links import observe_links
from spanbridge.probing.pair import ProbeSettings, ask_claims, probe_pair
from spanbridge.probing.station import Station
from spanbridge.probing.strays import Device, Watch, list_suspects
from spanbridge.rtnl import NetNs, Rtnl
from spanbridge.rtnl.netns import OWN_NETNS
from spanbridge.stretch.node_facts import node_facts

PROTOCOL: Final = 1
"""Raised when an old asker would misread an answer."""

LINE_MAX: Final = 4 << 20
"""Bytes of a request: the trust bundle of a cluster is the longest part."""

_SERVER_NAME: Final = "kubevirt.io:system:node:virt-handler"
"""Source: KubeVirt 1.9, pkg/virt-operator/resource/generate/components/secrets.go."""

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class _PodHere:
    """A pod that was found on this node."""

    endpoint: Endpoint
    netns: str
    links: tuple[LinkState, ...]


@dataclass(frozen=True, slots=True)
class _Site:
    """What a verification told about this node, and what was found for it."""

    expected: Expectations = field(default_factory=Expectations)
    pods: Mapping[str, _PodHere] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()


class ProbeService:
    """
    Answers the requests of one verification.

    Args:
        attachments: Where the agent keeps what it promised.
        agent: Tells whether the node's agent answers.
    """

    def __init__(self, attachments: Path, agent: Callable[[], bool]) -> None:
        self._attachments = attachments
        self._agent = agent
        self._site = _Site()
        self._stack = contextlib.ExitStack()
        self._stations: dict[str, Station] = {}
        self._dialler: Dialler | None = None
        self._watch: Watch | None = None
        self._missing: dict[str, str] = {}

    def close(self) -> None:
        """Close all sockets."""
        self._stack.close()
        self._stations.clear()

    async def answer(self, line: bytes) -> Json:
        """Answer one request; what goes wrong is an answer too."""
        number: object = None
        try:
            request = parse_object(line, "the request")
            number = request.take("id")
            return {"id": number, **await self._do(request)}
        except SpanbridgeError as error:
            return {"id": number, "error": str(error)}
        except OSError as error:
            return {"id": number, "error": f"cannot probe here: {error}"}

    async def _do(self, request: Node) -> Json:
        verbs: Mapping[str, Callable[[Node], Awaitable[Json]]] = {
            "look": self._look,
            "listen": self._listen,
            "probe": self._probe,
            "claims": self._claims,
            "strays": self._strays,
        }
        verb = verbs.get(request.text("do"))
        if verb is None:
            raise request.fault("do", "nothing of that name is known", f"one of {', '.join(verbs)}")
        return await verb(request)

    async def _look(self, request: Node) -> Json:
        """Find the pods and say what node and pods are, by their own kernel."""
        expected = parse_compact(Expectations, request.take("expected") or {}, "/expected")
        cluster, node = request.text("cluster"), request.text("node")
        pods = self._find(request, expected.interface)
        own = _links_of(OWN_NETNS)
        facts = node_facts(
            own,
            cluster=cluster,
            node=node,
            bridge=request.text("bridge"),
            vlan=expected.vlan,
            uplink=request.text("uplink"),
            agent=await asyncio.to_thread(self._agent) if request.flag("agent") else None,
        )
        devices = (*_node_devices(own, facts), *_pod_devices(pods, facts, expected.interface))
        self._site = _Site(expected, pods, devices)
        trusted, known = request.text("trusted"), request.text("known")
        self._dialler = None
        if trusted:
            self._dialler = Dialler(Credentials(trusted, known=known, name=_SERVER_NAME))
        return {
            "node": render_compact(facts),
            "endpoints": [render_compact(each.endpoint) for each in pods.values()],
            "missing": self._missing,
        }

    def _find(self, request: Node, interface: str) -> "dict[str, _PodHere]":
        """Find the pods that are asked for; who is not found is kept as missing."""
        found: dict[str, _PodHere] = {}
        self._missing = {}
        for pod in request.nodes("pods") or ():
            endpoint = parse_compact(Endpoint, pod.take("endpoint"), f"{pod.pointer}/endpoint")
            identity = PodIdentity(pod.text("namespace"), endpoint.pod, pod.texts("containers"))
            try:
                netns = find_pod_netns(identity, interface, self._attachments)
                links = _links_of(netns)
            except (NodeError, OSError) as error:
                self._missing[endpoint.name] = str(error)
                continue
            seen = _as_seen(endpoint, links, interface)
            found[endpoint.name] = _PodHere(seen, netns, links)
        return found

    async def _listen(self, _request: Node) -> Json:
        self._watch = Watch(self._site.devices, self._site.expected)
        self._stack.callback(self._watch.close)
        return {}

    async def _probe(self, request: Node) -> Json:
        target = parse_compact(Endpoint, request.take("target"), "/target")
        # A sync leader wants to see a certificate, whose key is none of ours.
        dialler = self._dialler if target.role is Role.HANDLER else None
        settings = ProbeSettings(mtu=self._site.expected.mtu)
        station = self._station(request.text("source"))
        return {
            "probe": render_compact(await probe_pair(station, target, settings, dialler=dialler))
        }

    async def _claims(self, request: Node) -> Json:
        station = self._station(request.text("asker"))
        claims = await ask_claims(station, request.texts("gateways"), ProbeSettings())
        return {"claims": [render_compact(each) for each in claims]}

    async def _strays(self, _request: Node) -> Json:
        seen = self._watch.read() if self._watch is not None else ()
        return {"strays": [render_compact(each) for each in seen]}

    def _station(self, name: str) -> Station:
        if name not in self._stations:
            pod = self._site.pods.get(name)
            if pod is None:
                raise InputError(
                    f"cannot probe from {name}: it was not found here", hint="ask to look first"
                )
            opened = Station.open(pod.endpoint, pod.netns, self._site.expected.interface)
            self._stations[name] = self._stack.enter_context(opened)
        return self._stations[name]


def _links_of(netns: str) -> tuple[LinkState, ...]:
    """List the links of a namespace."""
    with NetNs.open(netns) as entered, Rtnl.open(entered) as rtnl:
        return observe_links(rtnl)


def _as_seen(endpoint: Endpoint, links: tuple[LinkState, ...], interface: str) -> Endpoint:
    """Say of a pod what its kernel says: in its order, and with the MTU."""
    device = next((each for each in links if each.name == interface), None)
    if device is None:
        return dataclasses.replace(endpoint, addresses=(), mac="", mtu=0)
    addresses = tuple(each.partition("/")[0] for each in device.addresses)
    return dataclasses.replace(endpoint, addresses=addresses, mac=device.mac, mtu=device.mtu)


def _node_devices(own: tuple[LinkState, ...], facts: NodeFacts) -> Iterator[Device]:
    """List what is watched on the node: its uplinks, and all that is not of the bridge."""
    uplinks = [each.name for each in facts.uplinks]
    for name in uplinks:
        yield Device(facts.cluster, facts.node, OWN_NETNS, name, uplink=True)
    for name in list_suspects(own, bridge=facts.bridge, uplinks=uplinks):
        yield Device(facts.cluster, facts.node, OWN_NETNS, name)


def _pod_devices(
    pods: Mapping[str, _PodHere], facts: NodeFacts, interface: str
) -> Iterator[Device]:
    """List what is watched in pods: all but the device of the network."""
    for pod in pods.values():
        for link in pod.links:
            if not link.loopback and link.name != interface:
                yield Device(facts.cluster, facts.node, pod.netns, link.name)


def hello() -> Json:
    """Make the first line of the output."""
    return {"spanbridge": __version__, "protocol": PROTOCOL}


async def serve(
    service: ProbeService, read: Callable[[int], bytes], write: Callable[[str], object]
) -> None:
    """
    Answer until the input ends; requests run beside each other.

    Args:
        service: Who answers.
        read: Reads a line of so many bytes at most; blocks.
        write: Writes a line.

    Raises:
        InputError: A line is too long.
    """
    write(json.dumps(hello()))

    async def answer(line: bytes) -> None:
        write(json.dumps(await service.answer(line)))

    try:
        async with asyncio.TaskGroup() as group:
            while line := await asyncio.to_thread(read, LINE_MAX):
                if len(line) >= LINE_MAX:
                    raise InputError(
                        f"cannot read a request: it is longer than {LINE_MAX} bytes",
                        hint="write one JSON object a line",
                    )
                if line.strip():
                    group.create_task(answer(line), name="probe request")
    finally:
        service.close()
