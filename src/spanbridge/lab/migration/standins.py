# SPDX-License-Identifier: Apache-2.0
"""
The way of a stream through the stand-ins of KubeVirt's pods, over ``migration0``.

The target's virt-handler opens ports, the sync controllers of both clusters tell each other
where, the source's virt-handler makes sockets for QEMU that lead there. Within a cluster the
sync controllers have no part in it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.migration.crossing import Passage
from spanbridge.lab.place import Place
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin import Standins, advertised
from spanbridge.lab.standin.control import request
from spanbridge.lab.standin.paths import handler_socket, sync_socket

EXCHANGE_S: Final = 60.0
"""Time for the sync controllers to hear of each other; KubeVirt's try for ever."""

_END_S: Final = 30.0
_POLL_S: Final = 0.05
_ADDRESS: Final = "targetNodeAddress"
_PORTS: Final = "targetDirectMigrationNodePorts"
"""Source: KubeVirt 1.9, api/core/v1/types.go, VirtualMachineInstanceMigrationState."""


@dataclass(slots=True)
class StandinCrossing:
    """
    Leads streams through the stand-ins of a lab.

    Attributes:
        runtime: Of the lab.
        standins: That run.
    """

    runtime: Runtime
    standins: Standins
    _open: set[str] = field(default_factory=set)

    @property
    def _place(self) -> Place:
        return self.runtime.place

    def open(self, passage: Passage) -> Mapping[str, Path]:
        """
        Make the way, and name the sockets at the source, by stream.

        Raises:
            NodeError: There is no way; what was made of it is left to `close`.
        """
        self._open.add(passage.name)
        abroad = passage.source.cluster != passage.target.cluster
        if abroad:
            self._introduce(passage)
        sockets = {label: str(path) for label, path in passage.sockets.items()}
        target = self._ask_handler(passage, target=True, do="target", sockets=sockets)
        told = {_ADDRESS: target["address"], _PORTS: target["ports"], "phase": "TargetReady"}
        if abroad:
            told = self._exchange(passage, told)
        source = self._ask_handler(
            passage,
            target=False,
            do="source",
            address=told[_ADDRESS],
            ports=told[_PORTS],
            directory=str(passage.directory),
        )
        return {label: Path(path) for label, path in source["sockets"].items()}

    def close(self, passage: Passage, *, completed: bool) -> tuple[str, ...]:
        """End the streams, forget the migration, and name what went wrong with them."""
        if passage.name not in self._open:
            return ()
        self._open.discard(passage.name)
        troubles: list[str] = []
        for target in (False, True):
            try:
                answer = self._ask_handler(passage, target=target, do="end", timeout_s=_END_S)
            except NodeError as error:
                troubles.append(error.message)
            else:
                troubles += answer["troubles"]
        if passage.source.cluster != passage.target.cluster:
            troubles += self._conclude(passage, completed=completed)
        return tuple(troubles)

    def _introduce(self, passage: Passage) -> None:
        """Begin the migration at both leaders; the source's is told where to go."""
        connect = advertised(self._place, passage.target.cluster)
        if not connect:
            raise NodeError(
                f"KubeVirt of {passage.target.cluster} names no address of its sync controller"
            )
        common = {"migration": passage.name, "vm": passage.vm}
        for node, verb in (
            (passage.target, {"do": "receive"}),
            (passage.source, {"do": "send", "connect": connect}),
        ):
            self._ask_leader(node.cluster, {**verb, **common, "node": node.name})

    def _exchange(self, passage: Passage, told: dict[str, Any]) -> dict[str, Any]:
        """Have the target say where it waits, and wait until the source has heard it."""
        publish = {"do": "publish", "migration": passage.name, "state": told}
        self._ask_leader(passage.target.cluster, publish)
        deadline = time.monotonic() + EXCHANGE_S
        asked = {"do": "state", "migration": passage.name}
        while True:
            state = self._ask_leader(passage.source.cluster, asked)
            if _ADDRESS in state["other"]:
                other: dict[str, Any] = state["other"]
                return other
            if time.monotonic() > deadline:
                other_side = self._ask_leader(passage.target.cluster, asked)
                cause = state["error"] or other_side["error"] or "nothing was heard"
                raise NodeError(
                    f"the sync controllers of {passage.source.cluster} and "
                    f"{passage.target.cluster} did not reach each other in {EXCHANGE_S:.0f} s: "
                    f"{cause}"
                )
            time.sleep(_POLL_S)

    def _conclude(self, passage: Passage, *, completed: bool) -> list[str]:
        """Tell both leaders how it ended; one may not know of it."""
        verb: dict[str, Any] = {"do": "publish", "state": {"phase": "Succeeded"}}
        troubles = []
        for node in (passage.source, passage.target):
            what = {**(verb if completed else {"do": "cancel"}), "migration": passage.name}
            try:
                self._ask_leader(node.cluster, what, timeout_s=_END_S)
            except NodeError as error:
                troubles.append(error.message)
        return troubles

    def _ask_handler(
        self, passage: Passage, *, target: bool, do: str, timeout_s: float = 120.0, **more: object
    ) -> dict[str, Any]:
        node = passage.target if target else passage.source
        what = {"do": do, "migration": passage.name, **more}
        return request(handler_socket(self._place, node), what, timeout_s)

    def _ask_leader(
        self, cluster: str, what: Mapping[str, Any], timeout_s: float = 120.0
    ) -> dict[str, Any]:
        return request(sync_socket(self._place, self.standins.leader(cluster)), what, timeout_s)
