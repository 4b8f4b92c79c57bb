# SPDX-License-Identifier: Apache-2.0
"""
Pods of several clusters in real network namespaces, on one plain bridge.

No VLAN and no node between them, so that it stands on every kernel; OpenSSL's own server
listens where a virt-handler would. A test breaks a part with `ip` or `nft`.
"""

import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from spanbridge.lab.certificates import Validity, fingerprint, make_leaf, make_signer, render
from spanbridge.lab.kubevirt.identities import Identity
from spanbridge.lab.prober import RunOptions, Scene, observe_scene
from spanbridge.model.observations import (
    Authority,
    ClusterFacts,
    Endpoint,
    Expectations,
    Observations,
    Role,
)
from spanbridge.model.verdict import Verdict
from spanbridge.probing.dial import Credentials
from spanbridge.probing.strays import Device
from spanbridge.stretch.observing import Progress, Survey
from spanbridge.stretch.verify import verify
from spanbridge.testing.plugin import MakeNetns, Netns, run

INTERFACE: Final = "migration0"
MTU: Final = 9000
_PORTS: Final = {Role.HANDLER: 8443, Role.LEADER: 9185, Role.STANDBY: 9185}
_READY_S: Final = 20
_LIFE: Final = timedelta(days=1)


@dataclass(slots=True)
class FleetPod:
    """
    A pod.

    Attributes:
        endpoint: What is known of it, brought up to date by `Fleet.look`.
        netns: Its namespace.
        port: Of the switch, to it.
        server: Its OpenSSL; None where nothing listens.
    """

    endpoint: Endpoint
    netns: Netns
    port: str
    server: subprocess.Popen[bytes] | None = None

    def ip(self, *words: str) -> None:
        """Run `ip` in it."""
        run("ip", "-n", self.netns.name, *words)


@dataclass(slots=True)
class Fleet:
    """
    Everything.

    Attributes:
        switch: Namespace of the bridge ``br0``.
        pods: By name.
        directory: Of certificates.
        expected: What the network was meant to be.
        clusters: Their authorities and whom they trust.
        bundles: Certificates that each cluster trusts, PEM, by cluster.
        known: All authorities.
        options: How to verify.
        stack: Ends what was started.
        extra: Devices to watch besides.
    """

    switch: Netns
    directory: Path
    expected: Expectations
    stack: ExitStack
    pods: dict[str, FleetPod] = field(default_factory=dict)
    clusters: dict[str, ClusterFacts] = field(default_factory=dict)
    bundles: dict[str, str] = field(default_factory=dict)
    known: str = ""
    options: RunOptions = field(default_factory=RunOptions)
    extra: tuple[Device, ...] = ()

    def look(self) -> Scene:
        """Tell who is where, asking the kernel by `ip`."""
        endpoints = tuple(map(_observe, self.pods.values()))
        clusters = tuple(self.clusters.values())
        eth0 = tuple(
            Device(each.endpoint.cluster, each.endpoint.node, each.netns.name, "eth0")
            for each in self.pods.values()
        )
        return Scene(
            Survey(clusters, endpoints),
            {name: pod.netns.name for name, pod in self.pods.items()},
            eth0 + self.extra,
            self._credentials(),
        )

    def _credentials(self) -> Mapping[tuple[str, Role], Credentials]:
        chosen = {
            Role.HANDLER: (Identity.MIGRATION_CLIENT, Identity.HANDLER_SERVER),
            Role.LEADER: (Identity.SYNC_CLIENT, Identity.SYNC_SERVER),
        }
        return {
            (cluster, role): Credentials(
                bundle,
                self.directory / cluster / client.file,
                self.known,
                server.common_name,
            )
            for cluster, bundle in self.bundles.items()
            for role, (client, server) in chosen.items()
        }

    def observe(self) -> Observations:
        """Verify; the observations."""
        return observe_scene(self.look, self.expected, self.options)

    def verify(self) -> Verdict:
        """Verify; the verdict."""
        return verify(self.observe())

    def serve(self, name: str, *, identity: Path | None = None) -> None:
        """Let a pod listen with the certificate of its cluster, or with another one."""
        pod = self.pods[name]
        stop(pod)
        home = self.directory / pod.endpoint.cluster
        role = pod.endpoint.role
        usual = Identity.HANDLER_SERVER if role is Role.HANDLER else Identity.SYNC_SERVER
        bundle = home / f"{pod.endpoint.cluster}.trusted.pem"
        bundle.write_text(self.bundles[pod.endpoint.cluster])
        certificate = str(identity or home / usual.file)
        pod.server = subprocess.Popen(
            [
                *("ip", "netns", "exec", pod.netns.name, "openssl", "s_server", "-www", "-quiet"),
                *("-accept", f"*:{_PORTS[role]}", "-cert", certificate, "-key", certificate),
                *("-CAfile", str(bundle), "-no-CApath", "-no-CAstore"),
                *(("-verify" if role is Role.HANDLER else "-Verify"), "1"),
                *("-verify_return_error",),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.stack.callback(stop, pod)

    def await_servers(self) -> None:
        """Wait until everybody listens."""
        deadline = time.monotonic() + _READY_S
        for pod in self.pods.values():
            while pod.server and not pod.netns.run("ss", "-Hltn").strip():
                assert time.monotonic() < deadline, pod.endpoint.name
                time.sleep(0.02)

    def renew(self, cluster: str, *, since: datetime | None = None) -> None:
        """Give a cluster an authority, and its pods certificates of it; nobody else trusts it."""
        begin = since or datetime.now(UTC) - timedelta(minutes=1)
        validity = Validity(begin.replace(microsecond=0), begin.replace(microsecond=0) + _LIFE)
        signer = make_signer(validity)
        home = self.directory / cluster
        home.mkdir(exist_ok=True)
        for identity in Identity:
            (home / identity.file).write_bytes(make_leaf(signer, identity, validity))
        own = render(signer.certificate).decode()
        (home / "ca.pem").write_text(own)
        self.bundles[cluster] = own
        self.known += own
        authority = Authority(
            fingerprint(signer.certificate),
            validity.since.isoformat(),
            validity.until.isoformat(),
        )
        self.clusters[cluster] = ClusterFacts(
            cluster, authority=authority, trusted=(authority.fingerprint,)
        )

    def exchange(self, cluster: str, other: str) -> None:
        """Let a cluster trust another one."""
        self.bundles[cluster] += (self.directory / other / "ca.pem").read_text()
        facts, there = self.clusters[cluster], self.clusters[other].authority
        assert there is not None
        trusted = (*(facts.trusted or ()), there.fingerprint)
        self.clusters[cluster] = dataclasses.replace(facts, trusted=trusted)


def stop(pod: FleetPod) -> None:
    """Let a pod's server end."""
    server, pod.server = pod.server, None
    if server is not None and server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _observe(pod: FleetPod) -> Endpoint:
    links = json.loads(run("ip", "-n", pod.netns.name, "-j", "address", "show"))
    found = {link["ifname"]: link for link in links}
    device, eth0 = found.get(INTERFACE), found.get("eth0", {"addr_info": []})
    if device is None:
        return dataclasses.replace(pod.endpoint, addresses=(), mac="", mtu=0)
    pod_address = next((each["local"] for each in eth0["addr_info"]), "")
    return dataclasses.replace(
        pod.endpoint,
        addresses=tuple(each["local"] for each in device["addr_info"] if each["scope"] == "global"),
        mac=device["address"],
        mtu=device["mtu"],
        pod_address=pod_address,
    )


@contextmanager
def make_fleet(
    netns: MakeNetns,
    directory: Path,
    sizes: Mapping[str, int],
    *,
    progress: Progress = lambda _done, _total: None,
) -> Iterator[Fleet]:
    """
    Make clusters of so many virt-handlers each, in which all is well.

    Args:
        netns: Makes namespaces.
        directory: For certificates.
        sizes: Virt-handlers of each cluster, by its name.
        progress: Told of each probe.
    """
    switch = netns("switch")
    switch.run("ip", "link", "add", "br0", "up", "type", "bridge", "mcast_snooping", "0")
    expected = Expectations("migration", INTERFACE, 0, MTU, ("10.88.0.0/16",), ("10.88.0.1",))
    with ExitStack() as stack:
        options = RunOptions(progress=progress)
        fleet = Fleet(switch, directory, expected, stack, options=options)
        for at, (cluster, size) in enumerate(sizes.items(), start=1):
            fleet.renew(cluster)
            for number in range(1, size + 1):
                name = f"{cluster}/virt-handler-{number}"
                node = f"{cluster}-{number}"
                address = f"10.88.{at}.{number}"
                _add(fleet, netns, Endpoint(name, cluster, node, Role.HANDLER, "", (address,)))
            name = f"{cluster}/virt-synchronization-controller-a"
            address = f"10.88.{at}.200"
            leader = Endpoint(name, cluster, f"{cluster}-1", Role.LEADER, "", (address,))
            _add(fleet, netns, leader)
        for cluster in sizes:
            for other in sizes:
                if other != cluster:
                    fleet.exchange(cluster, other)
        switch.run("ip", "link", "set", "br0", "mtu", str(MTU))
        for name in fleet.pods:
            fleet.serve(name)
        fleet.await_servers()
        yield fleet


def _add(fleet: Fleet, netns: MakeNetns, endpoint: Endpoint) -> None:
    pod = netns("pod")
    port = f"p{len(fleet.pods)}"
    mtu = str(fleet.expected.mtu)
    script = [
        f"link add {port} mtu {mtu} type veth peer {INTERFACE} mtu {mtu} netns {pod.name}",
        f"link set {port} master br0 up",
    ]
    inside = [
        f"address add {endpoint.addresses[0]}/16 dev {INTERFACE}",
        f"link set {INTERFACE} up",
    ]
    for where, lines in ((fleet.switch, script), (pod, inside)):
        run("ip", "-n", where.name, "-batch", "-", stdin="\n".join(lines) + "\n")
    made = dataclasses.replace(endpoint, pod=endpoint.name.partition("/")[2])
    fleet.pods[endpoint.name] = FleetPod(made, pod, port)
