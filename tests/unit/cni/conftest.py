# SPDX-License-Identifier: Apache-2.0
"""The installed programs, run exactly as a container runtime runs them."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spanbridge.cni.install import install

CALL = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/nowhere/netns", "CNI_IFNAME": "eth0"}


@dataclass(frozen=True)
class Outcome:
    """What one finished call left."""

    status: int
    stdout: str
    stderr: str

    def document(self) -> dict[str, Any]:
        """Return the one JSON object on standard output; a second one is an error."""
        decoded = json.loads(self.stdout)
        assert isinstance(decoded, dict)
        return decoded


class Programs:
    """A directory of installed programs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def environ(self, verb: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        run_dir = str(self.directory / "run")
        base = CALL | {"CNI_COMMAND": verb, "CNI_PATH": "", "SPANBRIDGE_RUN": run_dir}
        return base | dict(extra or {})

    def call(
        self,
        verb: str,
        stdin: object = b"",
        *,
        program: str = "bridge",
        environ: Mapping[str, str] | None = None,
    ) -> Outcome:
        data = stdin if isinstance(stdin, bytes) else json.dumps(stdin).encode()
        done = subprocess.run(
            [self.directory / program],
            input=data,
            env=self.environ(verb, environ),
            capture_output=True,
            check=False,
            timeout=15,
        )
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    directory = tmp_path_factory.mktemp("cni-bin")
    install(directory)
    return Programs(directory)
