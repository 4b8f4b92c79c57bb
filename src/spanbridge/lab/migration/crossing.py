# SPDX-License-Identifier: Apache-2.0
"""How the stream of a migration gets from one QEMU's unix socket to the other's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from spanbridge.lab.topology import Node

CONTROL: Final = "0"
RAM: Final = "49152"
"""KubeVirt's names of the streams. Source: KubeVirt 1.7, pkg/virt-handler/migration-proxy."""


@dataclass(frozen=True, slots=True)
class Passage:
    """
    What a crossing has to know of a migration.

    Attributes:
        name: Of the migration; no other has it.
        vm: Name of the virtual machine.
        source: Where it runs.
        target: Where it is to run.
        sockets: Of the target's launcher, by stream: where QEMU there listens.
        directory: Where the source's handler makes its sockets.
    """

    name: str
    vm: str
    source: Node
    target: Node
    sockets: Mapping[str, Path]
    directory: Path


class Crossing(Protocol):
    """Something that leads streams from the source to the target."""

    def open(self, passage: Passage) -> Mapping[str, Path]:
        """
        Make the way, and name the sockets at the source, by stream.

        Raises:
            NodeError: There is no way; what was made of it is left to `close`.
        """

    def close(self, passage: Passage, *, completed: bool) -> tuple[str, ...]:
        """
        End the streams, forget the migration, and name what went wrong with them.

        A second time does nothing.
        """


class Joined:
    """Both ends are on this machine: the source uses the target's own sockets."""

    def open(self, passage: Passage) -> Mapping[str, Path]:
        """Name the target's sockets."""
        return passage.sockets

    def close(self, passage: Passage, *, completed: bool) -> tuple[str, ...]:  # noqa: ARG002  # of the protocol
        """Do nothing: QEMU's own end closes a stream."""
        return ()
