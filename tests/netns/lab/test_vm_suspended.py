# SPDX-License-Identifier: Apache-2.0
"""A machine that was booted before, and wakes in a lab."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.lab.conftest import bare_lab

from spanbridge.lab.migrate import Request, migrate
from spanbridge.lab.migration.crossing import Joined
from spanbridge.lab.migration.request import Options, find_target
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.vm.console import Console
from spanbridge.lab.vm.life import start_machine
from spanbridge.lab.vm.machine import Wanted, launcher_of, qemu_daemon
from spanbridge.lab.vm.suspended import VARIABLE, find_suspended, suspend
from spanbridge.model.timeline import Outcome

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def asleep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("a")
    suspend(directory, Wanted("web"))
    return directory


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with bare_lab(tmp_path / "s") as made:
        yield made


def test_it_counts_on_and_begins_its_session_in_the_lab(
    asleep: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(asleep))
    machine = start_machine(runtime, Wanted("web"))

    daemon = qemu_daemon(launcher_of(runtime.place, machine))
    words = Path(f"/proc/{daemon.pid_file.read_text().strip()}/cmdline").read_bytes().split(b"\0")
    assert any(word.startswith(b"exec:cat ") for word in words)
    with Console(launcher_of(runtime.place, machine).socket("console")) as console:
        ticks = [console.await_tick(timeout_s=20) for _ in range(3)]
    assert all(ticks)
    shown = subprocess.check_output(
        ["ip", "netns", "exec", "sb-lab-vms", "ss", "-Htn", "state", "established"], text=True
    )
    assert machine.address in shown


def test_it_migrates_in_one_pass(
    asleep: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory once, and after the guest has stopped what it wrote to: see decision 0013."""
    monkeypatch.setenv(VARIABLE, str(asleep))
    machine = start_machine(runtime, Wanted("web"))
    there = find_target(runtime.lab, "west", runtime.lab.nodes[0])
    slowly = Options(bandwidth_mib_per_s=20)
    done = migrate(runtime, Request(machine, there, slowly), Joined())

    assert (done.outcome, done.error, done.lost_ticks) == (Outcome.COMPLETED, "", 0)
    assert done.session_kept
    assert done.samples[-1].iteration <= 2
    assert done.samples[-1].transferred_bytes > 20 << 20


def test_the_image_is_not_made_again(
    asleep: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(asleep))
    start_machine(runtime, Wanted("web"))

    for file in (runtime.place.directory / "vm").glob("vmlinux-*"):
        assert file.resolve().parent == asleep


@pytest.mark.parametrize(
    "wanted", [Wanted("other"), Wanted("web", memory_mib=512), Wanted("web", dirty_mib_per_s=9)]
)
def test_another_machine_is_not_taken_for_it(asleep: Path, wanted: Wanted) -> None:
    assert find_suspended(Wanted("web"), {VARIABLE: str(asleep)}) is not None
    assert find_suspended(wanted, {VARIABLE: str(asleep)}) is None


def test_without_the_variable_nothing_sleeps(asleep: Path) -> None:
    assert asleep.exists()
    assert find_suspended(Wanted("web"), {}) is None
