# SPDX-License-Identifier: Apache-2.0
"""A virtual machine from its beginning to its end."""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from spanbridge.base.errors import InputError, NodeError
from spanbridge.lab.agents import SOCKET_PATH_MAX_BYTES
from spanbridge.lab.daemons import await_ready, find_daemon
from spanbridge.lab.place import Place
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import NETNS_PREFIX
from spanbridge.lab.vm.console import Console
from spanbridge.lab.vm.image import ensure_image
from spanbridge.lab.vm.machine import (
    Machine,
    Wanted,
    find_machine,
    launcher_of,
    new_suffix,
    qemu_daemon,
    read_machines,
    require_wanted,
    vm_dir,
    write_machine,
)
from spanbridge.lab.vm.network import Launcher, find_launchers
from spanbridge.lab.vm.qemu import close_launcher, find_accelerator, open_launcher
from spanbridge.lab.vm.session import begun, ensure_peer, talks
from spanbridge.lab.vm.suspended import FIRST_NUMBER, find_suspended

BOOT_S: Final = 600.0
"""Time for a guest to boot: 4 s on an idle machine, a minute in an emulated guest."""

_LAST_NUMBER: Final = 250

Step = Callable[[str], None]
"""Called with what is being done next, in a few words."""


def start_machine(runtime: Runtime, wanted: Wanted, *, step: Step = lambda _: None) -> Machine:
    """
    Start a virtual machine and wait until it counts.

    Raises:
        InputError: It cannot be had so.
        NodeError: It runs already, or does not start; its own words are passed on.
    """
    require_wanted(wanted)
    _require_short_path(runtime.place, wanted.name)
    place, node = runtime.place, wanted.node or runtime.lab.nodes[0]
    if find_machine(place, wanted.name) is not None:
        raise NodeError(f"cannot start {wanted.name}: it runs already")
    stop_machine(place, wanted.name)
    taken = {each.number for each in read_machines(place)}
    asleep = find_suspended(wanted) if FIRST_NUMBER not in taken else None
    if asleep is not None:
        step(f"waking {wanted.name} on {node.name}, which was booted before")
        asleep.lend_image(vm_dir(place))
        image, accelerator = asleep.image, asleep.machine.accelerator
    else:
        step("making a kernel and an initramfs for virtual machines")
        image = ensure_image(vm_dir(place))
        accelerator = find_accelerator(vm_dir(place), image, step)
        step(f"booting {wanted.name} on {node.name} ({accelerator.upper()})")
    ensure_peer(place)
    machine = Machine(
        name=wanted.name,
        number=next(each for each in range(FIRST_NUMBER, _LAST_NUMBER) if each not in taken),
        memory_mib=wanted.memory_mib,
        dirty_mib_per_s=wanted.dirty_mib_per_s,
        accelerator=accelerator,
        node=node.name,
        suffix=new_suffix(),
    )
    launcher, earlier = launcher_of(place, machine), begun(place, machine.name)
    try:
        open_launcher(place, node, machine, image, wakes=asleep.uri if asleep else "")
        _await_boot(place, machine, earlier)
    except BaseException:
        close_launcher(launcher)
        raise
    write_machine(place, machine)
    return machine


def _require_short_path(place: Place, name: str) -> None:
    """Make sure that the longest of its sockets can be: that of a migration at the source."""
    longest = vm_dir(place) / "12345" / f"{name}-12345-49152-source.sock"
    excess = len(os.fsencode(longest)) - SOCKET_PATH_MAX_BYTES
    if excess > 0:
        raise InputError(
            f"cannot start {name} in {place.directory}: its sockets would have {excess} bytes "
            "too many in their paths",
            hint="give the lab a shorter --state-dir, or the machine a shorter name",
        )


def _await_boot(place: Place, machine: Machine, earlier: int) -> None:
    """Wait until the guest counts and its TCP session is there, beside so many earlier ones."""
    launcher, deadline = launcher_of(place, machine), time.monotonic() + BOOT_S
    daemon = qemu_daemon(launcher)
    await_ready(daemon, lambda: _connects(launcher.socket("console")))
    with Console(launcher.socket("console")) as console:
        alive = lambda: find_daemon(daemon) is not None  # noqa: E731  # a line of its own says less
        tick = console.await_tick(timeout_s=BOOT_S, alive=alive)
        while tick is not None and not talks(place, machine.name, after=earlier):
            tick = console.await_tick(timeout_s=deadline - time.monotonic(), alive=alive)
        if tick is None:
            said = " / ".join(console.said[-3:]) or daemon.log_file.read_text()[-300:].strip()
            raise NodeError(
                f"cannot start {machine.name}: the guest did not come up in {BOOT_S:.0f} s; "
                f"it said: {said or 'nothing'}"
            )


def _connects(path: Path) -> bool:
    """Tell whether somebody listens; QEMU's console then waits for the next one."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as trying:
        trying.connect(str(path))
        return True
    return False


def stop_machine(place: Place, name: str, *, but: str = "") -> bool:
    """
    End a machine with every launcher of it, also what an interrupted command left.

    Args:
        place: Where its files are.
        name: Of the machine.
        but: Suffix of a launcher that is kept, and with it the machine.

    Returns:
        Whether there was anything.
    """
    found = False
    for netns in find_launchers(name):
        node, _, rest = netns.removeprefix(NETNS_PREFIX).partition(".virt-launcher-")
        suffix = rest.rpartition("-")[2]
        if suffix != but:
            close_launcher(Launcher(name, node, suffix, vm_dir(place) / suffix))
            found = True
    if not but:
        (vm_dir(place) / f"{name}.json").unlink(missing_ok=True)
    return found
