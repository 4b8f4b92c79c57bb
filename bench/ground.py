# SPDX-License-Identifier: Apache-2.0
"""What is measured on: sandboxes, network configurations, filled address stores."""

import errno
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.contenders import Programs
from bench.launch import Run
from spanbridge.rtnl import NETNS_DIR, Rtnl, create_named_netns, del_link, delete_named_netns

IFNAME: Final = "eth0"
_SEED: Final = 20260601


@dataclass(frozen=True, slots=True)
class Pod:
    """
    A sandbox.

    Attributes:
        name: Also its container id.
    """

    name: str

    @property
    def path(self) -> str:
        """CNI_NETNS."""
        return f"{NETNS_DIR}/{self.name}"


@contextmanager
def pods(prefix: str, count: int) -> Iterator[list[Pod]]:
    """Make sandboxes; they go at the end, and with them whatever is left in them."""
    made: list[Pod] = []
    try:
        for number in range(count):
            name = f"{prefix}-{number}"
            create_named_netns(name)
            made.append(Pod(name))
        yield made
    finally:
        for pod in made:
            delete_named_netns(pod.name)


def remove_bridge(name: str) -> None:
    """Remove a bridge, which plugins leave behind; none is fine."""
    with Rtnl.open() as rtnl:
        rtnl.request(del_link(name=name), tolerate=(errno.ENODEV,))


def write_conf(place: Path, name: str, bridge: str, subnet: str, **fields: Any) -> Path:  # noqa: ANN401  # JSON
    """Write a bridge configuration with host-local; its file."""
    conf = {
        "cniVersion": "1.0.0",
        "name": name,
        "type": "bridge",
        "bridge": bridge,
        "isGateway": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(place / "networks"),
            "ranges": [[{"subnet": subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
        **fields,
    }
    path = place / f"{name}.json"
    path.write_text(json.dumps(conf))
    return path


@dataclass(frozen=True, slots=True)
class Network:
    """
    One contender's network, with sandboxes of its own on it.

    Attributes:
        programs: Whose.
        place: Directory for files.
        conf: The configuration's file.
        pods: The sandboxes.
    """

    programs: Programs
    place: Path
    conf: Path
    pods: Sequence[Pod]

    def run(self, verb: str, pod: Pod, *, ifname: str = IFNAME, program: str = "bridge") -> Run:
        """Prepare the call for one sandbox."""
        return self.programs.run(
            self.place,
            self.conf,
            program=program,
            command=verb,
            containerid=pod.name,
            netns=pod.path,
            ifname=ifname,
        )


def fill_store(directory: Path, base: str, share: float) -> int:
    """
    Write reservations into a network's directory, as host-local does; how many.

    Args:
        directory: Made when missing.
        base: The first two octets of a /16.
        share: Of its 65 533 addresses; which ones is drawn at random, always alike.
    """
    numbers = range(2, 65_535)
    taken = random.Random(_SEED).sample(numbers, round(len(numbers) * share))  # noqa: S311  # no secret
    directory.mkdir(parents=True, exist_ok=True)
    for number in taken:
        path = directory / f"{base}.{number >> 8}.{number & 255}"
        path.write_text(f"filler-{number}\r\n{IFNAME}")
    (directory / "last_reserved_ip.0").write_text(f"{base}.128.0")
    return len(taken)
