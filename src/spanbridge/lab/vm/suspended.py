# SPDX-License-Identifier: Apache-2.0
"""
A machine that was booted where that is quick, to be woken where it is not.

In an emulated guest kernel the boot of another guest takes minutes: emulation is multiplied
by emulation. So it is booted outside, put to sleep in a file by QEMU's own migration, and
wakes in the lab: counting on, with the network's card that it finds there.
"""

import asyncio
import json
import os
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.lab.vm.console import Console
from spanbridge.lab.vm.image import Image, ensure_image
from spanbridge.lab.vm.machine import Machine, Wanted
from spanbridge.lab.vm.network import Launcher
from spanbridge.lab.vm.qemu import ENV, ICOUNT, render_qemu, require_qemu
from spanbridge.lab.vm.qmp import ask, connected

VARIABLE: Final = "SPANBRIDGE_LAB_SUSPENDED"
"""Environment variable: directory in which `suspend` left a machine."""

FIRST_NUMBER: Final = 10
"""Of the first machine of a lab."""

BOOT_S: Final = 180.0
_CONNECT_S: Final = 30.0
_POLL_S: Final = 0.05
_NO_NETWORK: Final = "hubport,id=net0,hubid=0"


@dataclass(frozen=True, slots=True)
class Suspended:
    """
    A machine in a file.

    Attributes:
        machine: What it is, wherever it wakes.
        image: What it was booted from; QEMU wants the same again.
        state: File with its memory and devices.
    """

    machine: Machine
    image: Image
    state: Path

    def lend_image(self, directory: Path) -> None:
        """Have `ensure_image` find the image in ``directory`` too, without making it there."""
        directory.mkdir(parents=True, exist_ok=True)
        for file in (self.image.kernel, self.image.initramfs):
            link = directory / file.name
            if not link.exists():
                link.symlink_to(file)

    @property
    def uri(self) -> str:
        """Where QEMU reads it from."""
        return f"exec:cat {shlex.quote(str(self.state))}"


def suspend(directory: Path, wanted: Wanted) -> None:
    """
    Boot a machine without a network, and put it to sleep in ``directory``.

    Raises:
        NodeError: It does not boot, or QEMU cannot save it.
    """
    image, program = ensure_image(directory), require_qemu(wanted.name)
    machine = Machine(
        name=wanted.name,
        number=FIRST_NUMBER,
        memory_mib=wanted.memory_mib,
        dirty_mib_per_s=wanted.dirty_mib_per_s,
        accelerator=ICOUNT,
        node="",
        suffix="",
    )
    launcher = Launcher(machine.name, "", "", directory)
    command = [program, *render_qemu(machine, launcher, image, network=_NO_NETWORK)]
    log = directory / "boot.log"
    with log.open("wb") as output:
        # Killed with us: nobody else would find it.
        bound = ["setpriv", "--pdeathsig", "KILL", *command]
        process = subprocess.Popen(bound, env=ENV, stdout=output, stderr=output)
        try:
            _await_count(launcher.socket("console"), process, log)
            asyncio.run(_save(launcher.socket("qmp"), machine.name, _state(directory)))
            process.wait(_CONNECT_S)
        finally:
            process.kill()
            process.wait()
    write_atomic(_record(directory), json.dumps(asdict(machine)).encode(), mode=0o644)


def find_suspended(wanted: Wanted, environ: Mapping[str, str] = os.environ) -> Suspended | None:
    """Find a machine that sleeps and is like the wanted one."""
    if not environ.get(VARIABLE):
        return None
    directory = Path(environ[VARIABLE])
    try:
        machine = Machine(**json.loads(_record(directory).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    like = (machine.name, machine.memory_mib, machine.dirty_mib_per_s)
    if like != (wanted.name, wanted.memory_mib, wanted.dirty_mib_per_s):
        return None
    return Suspended(machine, ensure_image(directory), _state(directory))


def _state(directory: Path) -> Path:
    return directory / "machine.state"


def _record(directory: Path) -> Path:
    return directory / "machine.json"


def _await_count(console: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + BOOT_S
    while not console.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if console.exists():
        with Console(console) as heard:
            left = deadline - time.monotonic()
            if heard.await_tick(timeout_s=left, alive=lambda: process.poll() is None) is not None:
                return
    said = log.read_text(errors="replace").strip()[-300:]
    raise NodeError(f"cannot boot a virtual machine beforehand: it said: {said or 'nothing'}")


async def _save(monitor: Path, name: str, state: Path) -> None:
    """Write a machine to a file, and end it."""
    async with connected(monitor, name, timeout_s=_CONNECT_S) as client:
        # While it runs: one that was stopped before would not go on when it wakes. In one pass,
        # as `prepare_source` does it.
        await ask(client, "migrate-set-parameters", downtime_limit=0)
        await ask(client, "migrate", uri=f"exec:cat >{shlex.quote(str(state))}")
        while (status := (await ask(client, "query-migrate")).get("status")) != "completed":
            if status in {"failed", "cancelled"}:
                raise NodeError(f"cannot put {name} to sleep: QEMU says that it {status}")
            await asyncio.sleep(_POLL_S)
        await ask(client, "quit")
