# SPDX-License-Identifier: Apache-2.0
"""Python programs of a lab that are started as copies of one process."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.lab.daemons import Daemon, Program, await_ready, launch_together
from spanbridge.testing.plugin import MakeNetns, Netns

TRIAL = textwrap.dedent("""
    import os, signal, sys

    with open(os.environ["COUNTER"], "a") as file:
        file.write("imported\\n")

    def main():
        print(*sys.argv[1:], sorted(os.environ), os.getcwd())
        ends = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        print(os.getpid() == os.getsid(0), ends, os.readlink("/proc/self/fd/0"), flush=True)
        print("and an error", file=sys.stderr, flush=True)
        signal.pause()
""")


@pytest.fixture
def started(tmp_path: Path, netns: MakeNetns) -> Iterator[tuple[list[int], list[Netns]]]:
    """Two programs that were forked from one, each in a namespace of its own."""
    (tmp_path / "trial.py").write_text(TRIAL)
    namespaces = [netns("one"), netns("two")]
    programs = [
        {
            "netns": f"/run/netns/{each.name}",
            "output": str(tmp_path / f"{number}.log"),
            "module": "trial",
            "arguments": ["say", str(number)],
            "env": {"ONLY": str(number)},
        }
        for number, each in enumerate(namespaces)
    ]
    done = subprocess.run(
        ["env", "--ignore-signal=TERM", sys.executable, "-m", "spanbridge.lab.forking"],
        input=json.dumps({"imports": ["trial"], "programs": programs}),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tmp_path),
            "COUNTER": str(tmp_path / "counter"),
            "SECRET": "x",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    pids = json.loads(done.stdout)
    yield pids, namespaces
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def _log(file: Path) -> list[str]:
    """Wait for the three lines that a trial writes."""
    deadline = time.monotonic() + 10
    while not file.exists() or len(file.read_text().splitlines()) < 3:
        assert time.monotonic() < deadline, file.read_text() if file.exists() else "no log"
        time.sleep(0.02)
    return file.read_text().splitlines()


def test_each_is_as_if_it_had_been_executed(
    started: tuple[list[int], list[Netns]], tmp_path: Path
) -> None:
    pids, namespaces = started
    assert (tmp_path / "counter").read_text() == "imported\n"
    for number, (pid, each) in enumerate(zip(pids, namespaces, strict=True)):
        assert _log(tmp_path / f"{number}.log") == [
            f"say {number} ['ONLY'] /",
            "True True /dev/null",
            "and an error",
        ]
        found = subprocess.check_output(["ip", "netns", "pids", each.name], text=True)
        assert found.split() == [str(pid)]


def test_who_cannot_be_imported_is_named(tmp_path: Path, netns: MakeNetns) -> None:
    daemon = Daemon("the trial", netns("pod").name, tmp_path, "trial")
    with pytest.raises(
        NodeError, match=r"(?s)cannot start the trial: .*No module named 'not_there'"
    ):
        launch_together([Program(daemon, "not_there")], imports=["not_there"])
    assert not daemon.pid_file.exists()


def test_who_ends_at_once_is_quoted(tmp_path: Path, netns: MakeNetns) -> None:
    daemon = Daemon("the trial", netns("pod").name, tmp_path, "trial")
    launch_together([Program(daemon, "spanbridge.lab.kubevirt.handler", ("{}",))])
    with pytest.raises(
        NodeError, match=r"(?s)cannot start the trial: it ended; it wrote: .*TypeError"
    ):
        await_ready(daemon, lambda: False)
