# SPDX-License-Identifier: Apache-2.0
"""
A systemd of our own as process 1 of new namespaces, with journald and no other service.

It sees the machine's files with a layer above them in memory, so that it can install
what it likes; its cgroups are below one that is made for it, and removed.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

PROJECT: Final = Path(__file__).parents[3]
WAIT_S: Final = 30
COMMAND_TIMEOUT_S: Final = 60

ENTER: Final = ("nsenter", "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")
ENTER_CGROUP: Final = """\
set -e
mkdir {place}/cgroup
mount -t cgroup2 cgroup {place}/cgroup
mkdir {place}/cgroup/{name}
echo $$ > {place}/cgroup/{name}/cgroup.procs
exec unshare --cgroup --mount --net --uts --ipc --pid --fork --kill-child \\
    --propagation private sh -c "$1"
"""
BOOT: Final = """\
set -e
cd {place}
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
cd root
mkdir -p .{project} .{prefix}
mount --rbind {project} .{project}
mount --rbind {prefix} .{prefix}
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup sys/fs/cgroup
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=0755 state var/lib
mount -t tmpfs -o mode=0755 dev dev
for each in null zero full random urandom; do
    touch dev/$each
    mount --bind /dev/$each dev/$each
done
ln -s /proc/self/fd dev/fd
touch dev/console
mount --bind {place}/console dev/console
rm -rf etc/systemd/system opt/spanbridge opt/cni usr/local/bin/spanbridge
mkdir -p etc/systemd/system opt run/units run/netns root
for each in basic multi-user sockets shutdown sysinit umount network-pre local-fs; do
    printf '[Unit]\\nDefaultDependencies=no\\n' > run/units/$each.target
done
echo Wants=systemd-journald.service >> run/units/multi-user.target
for each in service socket; do
    cp lib/systemd/system/systemd-journald*.$each run/units/
done
rm -f run/units/systemd-journald-audit.socket run/units/*varlink* run/units/*@*
exec env -i PATH="$PATH" container=test SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units \\
    unshare --root=. /lib/systemd/systemd --system --unit=multi-user.target \\
    --log-target=console --show-status=no
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Systemd:
    """
    A running systemd.

    Attributes:
        pid: Of its process 1.
        console: What it says.
    """

    pid: int
    console: Path

    def run(self, script: str) -> str:
        """Run a shell script in it, up to the first command that fails; what it prints."""
        done = self.call(script)
        assert done.returncode == 0, f"{done.stdout}\n{self.console.read_text()}"
        return done.stdout

    def call(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Run a shell script in it; a failure is the caller's to judge."""
        return subprocess.run(
            [*ENTER, "-t", str(self.pid), "sh", "-e"],
            input=script,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            env={"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C.UTF-8"},
            check=False,
        )


def _wait_for_process_1(parent: "subprocess.Popen[bytes]", log: Path) -> int:
    """Wait until a child has become systemd; its process id out here."""
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + WAIT_S
    while True:
        for child in children.read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return int(child)
        assert parent.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def _remove_cgroups(top: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    for each in [*sorted(filter(Path.is_dir, top.rglob("*")), reverse=True), top]:
        while True:
            try:
                each.rmdir()
                break
            except OSError:  # its last process is just ending
                assert time.monotonic() < deadline
                time.sleep(0.02)


@pytest.fixture(scope="session")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """A systemd that ends with the session."""
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        pytest.skip("systemd needs root outside of a user namespace")
    place = tmp_path_factory.mktemp("systemd")
    name, console = f"spanbridge-test-{os.getpid()}", place / "console"
    boot = BOOT.format(place=place, project=PROJECT, prefix=sys.base_prefix)
    console.touch()
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", ENTER_CGROUP.format(place=place, name=name), "sh", boot],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        made = Systemd(_wait_for_process_1(process, place / "log"), console)
        _wait_running(made, process, place / "log")
        yield made
    finally:
        process.kill()
        process.wait(WAIT_S)
        with contextlib.suppress(FileNotFoundError):
            _remove_cgroups(place / "cgroup" / name)
        subprocess.run(["umount", place / "cgroup"], check=False)


def _wait_running(made: Systemd, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while (done := made.call("systemctl is-active multi-user.target")).returncode != 0:
        said = f"{done.stdout}\n{log.read_text()}\n{made.console.read_text()}"
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
