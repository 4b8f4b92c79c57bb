# SPDX-License-Identifier: Apache-2.0
"""
Calls the installed plugins as a container runtime does.

A program on disk, the CNI variables, the configuration on standard input, in the
node's network namespace: nothing of ours is imported for it.
"""

import dataclasses
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from spanbridge.testing.plugin import Netns

TIMEOUT_S: Final = 120

Conf = dict[str, Any]
"""A network configuration; its values are whatever a test wants to try."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """
    What one call answered.

    Attributes:
        status: Exit status.
        document: The one JSON document on standard output; None when it was empty.
        log: Standard error.
    """

    status: int
    document: Any
    log: str

    @property
    def result(self) -> Any:  # noqa: ANN401  # a JSON document
        """The document of a call that must have succeeded."""
        assert self.status == 0, f"status {self.status}: {self.document} {self.log}"
        return self.document

    @property
    def error(self) -> Any:  # noqa: ANN401  # a JSON document
        """The error document of a call that must have failed as the protocol says."""
        assert self.status == 1, f"status {self.status}: {self.document} {self.log}"
        assert {"cniVersion", "code", "msg"} <= set(self.document)
        return self.document

    @property
    def code(self) -> int:
        """The error's code."""
        return int(self.error["code"])


@dataclasses.dataclass(frozen=True, slots=True)
class Cni:
    """
    A runtime on one node.

    Attributes:
        bin_dir: Where the programs are; CNI_PATH.
        run_dir: What SPANBRIDGE_RUN says.
        node: The namespace that calls are made in; None is where the test runs.
        agent_socket: What SPANBRIDGE_SOCKET says; None leaves it unset.
    """

    bin_dir: Path
    run_dir: Path
    node: Netns | None = None
    agent_socket: Path | None = None

    def on(self, node: Netns) -> "Cni":
        """The same runtime on another node."""
        return dataclasses.replace(self, node=node)

    def environment(
        self, verb: str, pod: Netns | str | None, *, container: str, ifname: str, args: str
    ) -> dict[str, str]:
        """The variables of one call; an empty one is left out."""
        path = str(pod.path) if isinstance(pod, Netns) else pod or ""
        pairs = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": path,
            "CNI_IFNAME": ifname,
            "CNI_ARGS": args,
            "CNI_PATH": str(self.bin_dir),
            "SPANBRIDGE_RUN": str(self.run_dir),
            "SPANBRIDGE_SOCKET": str(self.agent_socket or ""),
            "PATH": os.environ["PATH"],
        }
        return {name: value for name, value in pairs.items() if value}

    def command(self, program: str) -> list[str]:
        """The command line that starts a program on the node."""
        enter = ["ip", "netns", "exec", self.node.name] if self.node else []
        return [*enter, str(self.bin_dir / program)]

    def call(  # noqa: PLR0913  # one keyword for each variable of the protocol
        self,
        verb: str,
        conf: Conf | bytes,
        pod: Netns | str | None = None,
        *,
        container: str = "c1",
        ifname: str = "eth0",
        args: str = "",
        program: str = "bridge",
        env: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one call."""
        environment = self.environment(verb, pod, container=container, ifname=ifname, args=args)
        done = subprocess.run(
            self.command(program),
            input=conf if isinstance(conf, bytes) else json.dumps(conf).encode(),
            env=environment | dict(env or {}),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        text = done.stdout.decode()
        return Answer(
            done.returncode, json.loads(text) if text.strip() else None, done.stderr.decode()
        )

    def add(self, conf: Conf, pod: Netns | str, **more: Any) -> Any:  # noqa: ANN401
        """ADD that must succeed; its result."""
        return self.call("ADD", conf, pod, **more).result

    def delete(self, conf: Conf, pod: Netns | str | None, **more: Any) -> None:  # noqa: ANN401
        """DEL that must succeed, and prints nothing."""
        assert self.call("DEL", conf, pod, **more).result is None

    def check(self, conf: Conf, pod: Netns | str, result: Any, **more: Any) -> Answer:  # noqa: ANN401
        """CHECK with a result of ADD as ``prevResult``."""
        return self.call("CHECK", conf | {"prevResult": result}, pod, **more)
