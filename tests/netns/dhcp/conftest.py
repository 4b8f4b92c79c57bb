# SPDX-License-Identifier: Apache-2.0
"""A link with a server on it, pods on the same link, and an agent's leases on a loop of its own."""

import asyncio
import contextlib
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.agent.leases import Leases
from spanbridge.base.clock import SYSTEM
from spanbridge.ipam.dhcp.conf import client_id, parse_dhcp_conf
from spanbridge.ipam.dhcp.keeper import LeaseAsk
from spanbridge.ipam.dhcp.lease import Lease
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node
from spanbridge.rtnl import NetNs
from spanbridge.testing.dhcp import wait_until
from spanbridge.testing.plugin import AskTool, MakeNetns, Netns, run

SERVER: Final = "10.9.0.1"
NETWORK: Final = "net1"


@dataclass(frozen=True, slots=True)
class Pod:
    """
    A sandbox with an interface on the link.

    Attributes:
        netns: The sandbox.
        mac: Of its ``eth0``.
        port: The other end, on the server's bridge.
    """

    netns: Netns
    mac: str
    port: str

    def add(self, lease: Lease) -> None:
        """Put a leased address on, as ADD does."""
        address = f"{lease.granted.address}/{lease.granted.prefix_length}"
        run("ip", "-n", self.netns.name, "addr", "add", address, "dev", "eth0")


MakePod = Callable[[], Pod]


@pytest.fixture
def lan(node: Netns) -> Netns:
    """The node with a bridge ``br0``, which is 10.9.0.1/24: where servers listen."""
    inside = ("ip", "-n", node.name)
    # A MAC of its own: one taken from a port would change with the ports.
    kind = ("address", "02:00:00:00:09:01", "type", "bridge", "forward_delay", "0")
    run(*inside, "link", "add", "br0", *kind)
    run(*inside, "addr", "add", f"{SERVER}/24", "dev", "br0")
    run(*inside, "link", "set", "br0", "up")
    return node


@pytest.fixture
def make_pod(netns: MakeNetns, lan: Netns, ip_json: AskTool) -> MakePod:
    """A factory of pods on the bridge."""
    inside = ("ip", "-n", lan.name)
    numbers = itertools.count()

    def make() -> Pod:
        pod, port = netns("pod"), f"port{next(numbers)}"
        peer = ("type", "veth", "peer", "name", "eth0", "netns", pod.name)
        run(*inside, "link", "add", port, "mtu", "1500", *peer)
        run(*inside, "link", "set", port, "master", "br0", "up")
        mac = ip_json("link", "show", "dev", "eth0", netns=pod)[0]["address"]
        return Pod(pod, mac, port)

    return make


class Keeper:
    """
    Leases on a loop in a thread, as in the agent.

    Attributes:
        changes: What ``on_change`` was told, with addresses for leases.
        orphans: Leases and frames that ``orphan_release`` was given.
    """

    def __init__(self, state_dir: Path) -> None:
        self.changes: Final[list[tuple[str | None, str | None]]] = []
        self.orphans: Final[list[tuple[Lease, bytes]]] = []
        self.state_dir: Final = state_dir
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop")
        self._thread.start()
        self.leases = Leases(
            self.loop,
            state_dir,
            clock=SYSTEM,
            random=random.SystemRandom().random,
            on_change=self._on_change,
            orphan_release=self._on_orphan,
        )
        self.on_loop(self.leases.resume())

    def _on_change(self, old: Lease | None, new: Lease | None) -> None:
        before, after = (lease.granted.address if lease else None for lease in (old, new))
        self.changes.append((before, after))

    def _on_orphan(self, lease: Lease, frame: bytes) -> bool:
        self.orphans.append((lease, frame))
        return True

    def on_loop(self, coroutine: Any) -> Any:  # noqa: ANN401
        """Run a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(15)

    def acquire(
        self,
        pod: Pod,
        container: str = "c1",
        cancelled: Callable[[], bool] = lambda: False,
        **section: Any,  # noqa: ANN401  # JSON
    ) -> Lease:
        """Lease an address for a pod's eth0, without probing unless told otherwise."""
        section = {"type": "dhcp", "probe": "off", "timeout": 8} | section
        conf = parse_dhcp_conf(Node(section))
        owner = owner_of(container)
        with NetNs.open(str(pod.netns.path)) as opened:
            ask = LeaseAsk(
                owner=owner,
                netns=opened,
                netns_path=str(pod.netns.path),
                conf=conf,
                client_id=client_id(conf, owner, args="", mac=pod.mac),
                section=section,
                args="",
            )
            return self.leases.acquire(ask, cancelled=cancelled)

    def release(self, container: str = "c1") -> None:
        """Give the lease of a container back."""
        self.leases.release(owner_of(container))

    def find(self, container: str = "c1") -> Lease | None:
        """Look at the lease of a container."""
        return self.leases.find(owner_of(container))

    def held(self, container: str = "c1") -> Lease:
        """The lease of a container that must have one."""
        lease = self.find(container)
        assert lease is not None
        return lease

    def journal(self) -> list[Path]:
        """Every file of the journal, those that are being written left out."""
        directory = self.state_dir / "leases"
        found = sorted(directory.iterdir()) if directory.is_dir() else []
        return [path for path in found if path.suffix != ".tmp"]

    def kill(self) -> None:
        """End at once: nothing is sent, nothing is written any more."""

        async def cancel() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        if self.loop.is_closed():
            return
        self.on_loop(cancel())
        self._end()

    def close(self) -> None:
        """End in order."""
        if not self.loop.is_closed():
            self.on_loop(self.leases.close())
            self.kill()

    def _end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


def owner_of(container: str) -> Owner:
    """The attachment of a container's eth0."""
    return Owner.of(NETWORK, container, "eth0")


StartKeeper = Callable[[], Keeper]


@pytest.fixture
def start_keeper(tmp_path: Path) -> Iterator[StartKeeper]:
    """A factory of agents' leases, all with the same state directory."""
    started: list[Keeper] = []

    def start() -> Keeper:
        started.append(Keeper(tmp_path / "state"))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def keeper(start_keeper: StartKeeper) -> Keeper:
    """One agent's leases."""
    return start_keeper()


@pytest.fixture
def capture(tmp_path: Path) -> Iterator[Callable[..., Callable[[], list[str]]]]:
    """
    Starts tcpdump in a namespace; calling the result gives the lines so far.

    Lines begin with the Ethernet addresses.
    """
    import subprocess

    started: list[subprocess.Popen[bytes]] = []

    def start(where: Netns, device: str, expression: str) -> Callable[[], list[str]]:
        out = tmp_path / f"capture-{len(started)}"
        err = out.with_suffix(".err")
        enter = ("ip", "netns", "exec", where.name)
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*enter, "tcpdump", "-lnnev", "-U", "--immediate-mode", "-i", device, expression],
                stdout=stdout,
                stderr=stderr,
            )
        started.append(process)
        wait_until(lambda: "listening on" in err.read_text(), what="tcpdump")
        return lambda: out.read_text().splitlines()

    yield start
    for process in started:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()
