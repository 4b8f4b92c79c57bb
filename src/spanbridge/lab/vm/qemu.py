# SPDX-License-Identifier: Apache-2.0
"""QEMU in a launcher: its command line, its start and its end, and whether KVM works for it."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.lab.daemons import await_ready, find_daemon, launch
from spanbridge.lab.guest import PATH
from spanbridge.lab.place import Place
from spanbridge.lab.processes import end_processes
from spanbridge.lab.topology import Node
from spanbridge.lab.vm.image import Image
from spanbridge.lab.vm.machine import Machine, launcher_of, qemu_daemon
from spanbridge.lab.vm.network import (
    PEER_ADDRESS,
    PREFIX_BITS,
    TAP,
    VM_CARD,
    Launcher,
    await_forwarding,
    build_launcher,
    ensure_node,
    release_launcher,
)
from spanbridge.lab.vm.session import PEER_PORT

TRIAL_S: Final = 8.0
"""Time for a kernel to start under KVM, a second as a rule: on some machines it never does."""

KVM: Final = "kvm"
ICOUNT: Final = "icount"
"""Accelerators: a processor that is not emulated, and one whose clock counts instructions."""

_TRIAL_WORDS: Final = "a kernel runs"
_QEMU: Final = "qemu-system-x86_64"
ENV: Final = {"PATH": PATH, "LANG": "C.UTF-8"}
_SOCKETS: Final = ("console", "qmp", "control")
_TAP: Final = f"tap,id=net0,ifname={TAP},script=no,downscript=no,vhost=off"

Step = Callable[[str], None]
"""Called with what is being done next, in a few words."""


def open_launcher(
    place: Place,
    node: Node,
    machine: Machine,
    image: Image,
    *,
    incoming: bool = False,
    wakes: str = "",
) -> Launcher:
    """
    Make a launcher and start QEMU in it.

    Args:
        place: Where its files go.
        node: Where.
        machine: What to start, with the suffix of the launcher that is to be made.
        image: What it boots.
        incoming: Wait for a migration, and stay paused after it.
        wakes: Where QEMU reads a machine from that sleeps; empty boots it.

    Raises:
        NodeError: It does not start.
    """
    program = require_qemu(machine.name)
    launcher = launcher_of(place, machine)
    launcher.directory.mkdir(parents=True)
    ensure_node(node)
    build_launcher(node, launcher)
    await_forwarding(node.netns, VM_CARD)
    await_forwarding(node.netns, launcher.port)
    command = [program, *render_qemu(machine, launcher, image)]
    if incoming:
        command += ["-S", "-incoming", "defer"]
    elif wakes:
        command += ["-incoming", wakes]
    daemon = qemu_daemon(launcher)
    launch(daemon, command, env=ENV)
    await_ready(daemon, launcher.socket("qmp").exists)
    return launcher


def require_qemu(name: str) -> str:
    """
    Find QEMU.

    Raises:
        NodeError: It is not installed.
    """
    program = shutil.which(_QEMU, path=PATH)
    if program is None:
        raise NodeError(
            f"cannot start {name}: there is no {_QEMU} (Debian: qemu-system-x86)",
            hint="run `make setup` as root",
        )
    return program


def render_qemu(
    machine: Machine, launcher: Launcher, image: Image, *, network: str = _TAP
) -> list[str]:
    """
    Make the arguments of QEMU: equal at both ends of a migration but for the sockets.

    Args:
        machine: What runs.
        launcher: Where its sockets are.
        image: What it boots.
        network: What its network card is connected to, named ``net0``.
    """
    area = machine.memory_mib // 4 if machine.dirty_mib_per_s else 0
    words = {
        "vm_name": machine.name,
        "vm_address": f"{machine.address}/{PREFIX_BITS}",
        "vm_peer": PEER_ADDRESS,
        "vm_port": PEER_PORT,
        "vm_dirty": machine.dirty_mib_per_s,
        "vm_area": area,
    }
    card = f"virtio-net-pci,netdev=net0,mac={machine.mac},romfile="
    sockets = {name: f"path={launcher.socket(name)},server=on,wait=off" for name in _SOCKETS}
    return [
        *("-name", machine.name, *_base(machine.accelerator, image)),
        *("-m", str(machine.memory_mib), "-append", _append(words)),
        *("-chardev", f"socket,id=console,{sockets['console']}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=qmp,{sockets['qmp']}", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=control,{sockets['control']}"),
        *("-mon", "chardev=control,mode=control"),
        *("-netdev", network),
        *("-device", card),
    ]


def _base(accelerator: str, image: Image) -> list[str]:
    # A small buffer of translated code: the default takes memory that a guest kernel lacks.
    tuned = accelerator if accelerator == KVM else "tcg,tb-size=64"
    return [
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "pc", "-accel", tuned),
        # Its clock counts instructions, so that a guest in an emulation of an emulation does not
        # spend all its time on its own timer's interrupts; as if it ran 250 million a second.
        *(("-icount", "shift=2,sleep=on") if accelerator == ICOUNT else ()),
        *("-kernel", str(image.kernel), "-initrd", str(image.initramfs)),
    ]


def _append(words: dict[str, Any]) -> str:
    """Make the kernel's command line: what the kernel does not know, it passes on."""
    given = " ".join(f"{name}={value}" for name, value in words.items())
    # What protects a guest from others costs an emulated processor dearly; and on a busy machine
    # that comes late to a timer's interrupt, the kernel would take the timer for broken.
    spared = "no_timer_check mitigations=off audit=0 apparmor=0"
    # A page that was freed is sent to no target, if it is zero.
    return f"console=ttyS0 quiet panic=-1 init_on_free=1 {spared} {given}"


def find_accelerator(directory: Path, image: Image, step: Step = lambda _: None) -> str:
    """
    Choose KVM where a kernel really starts under it, else emulation; remembered for the lab.

    There are machines on which /dev/kvm opens and a kernel then never starts.
    """
    remembered = directory / "accelerator"
    with contextlib.suppress(OSError):
        return remembered.read_text().strip()
    found = ICOUNT if _is_emulated() else "tcg"
    if found == "tcg" and os.access("/dev/kvm", os.R_OK | os.W_OK):
        step("trying whether a kernel starts under KVM")
        found = KVM if _starts_under_kvm(image) else "tcg"
    write_atomic(remembered, found.encode(), durable=False)
    return found


def _is_emulated() -> bool:
    """Tell whether this machine's own processor is an emulated one. Source: QEMU target/i386."""
    return "QEMU TCG CPU" in Path("/proc/cpuinfo").read_text()


def _starts_under_kvm(image: Image) -> bool:
    command = [_QEMU, *_base(KVM, image), "-m", "192", "-append", _append({"vm_trial": 1})]
    # Killed with us: a kernel that hangs would keep a processor busy for ever.
    bound = ["setpriv", "--pdeathsig", "KILL", *command, "-serial", "stdio"]
    try:
        done = subprocess.run(
            bound,
            env=ENV,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_S,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        return False
    return _TRIAL_WORDS.encode() in done.stdout


def close_launcher(launcher: Launcher) -> None:
    """End a launcher's QEMU and remove its namespace and files; absence is fine."""
    daemon = qemu_daemon(launcher)
    if (pid := find_daemon(daemon)) is not None:
        # Nothing in the guest is worth a farewell, and a migration may be stuck in it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end_processes([launcher.netns])
    find_daemon(daemon)  # takes note of its end, where it was our child
    release_launcher(launcher.netns)
    shutil.rmtree(launcher.directory, ignore_errors=True)
