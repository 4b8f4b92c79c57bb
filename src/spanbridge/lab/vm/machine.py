# SPDX-License-Identifier: Apache-2.0
"""
What is known of the virtual machines of a lab.

A machine is a file in the state directory that says where it runs; the QEMU there is found
by its launcher's namespace, as everything of a lab is.
"""

import contextlib
import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from spanbridge.base.errors import InputError
from spanbridge.base.files import write_atomic
from spanbridge.lab.daemons import Daemon, find_daemon
from spanbridge.lab.place import Place
from spanbridge.lab.topology import Node
from spanbridge.lab.vm.network import PEER_ADDRESS, Launcher

MEMORY_MIN_MIB: Final = 192
MEMORY_MAX_MIB: Final = 4096
DIRTY_MAX_MIB: Final = 200

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")
_SUFFIX_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True)
class Machine:
    """
    A virtual machine.

    Attributes:
        name: As the user calls it.
        number: Its own among the lab's; addresses follow from it.
        memory_mib: What its QEMU gives it.
        dirty_mib_per_s: How much memory it writes to while it does nothing else.
        accelerator: ``kvm``, ``tcg``, or ``icount`` where the processor is itself emulated.
        node: Where it runs.
        suffix: Of the launcher that it runs in.
    """

    name: str
    number: int
    memory_mib: int
    dirty_mib_per_s: int
    accelerator: str
    node: str
    suffix: str

    @property
    def address(self) -> str:
        """Its own, on the network of the virtual machines."""
        return f"{PEER_ADDRESS.rpartition('.')[0]}.{self.number}"

    @property
    def mac(self) -> str:
        """Locally administered, from its name."""
        digest = hashlib.sha256(self.name.encode()).digest()
        return ":".join(f"{byte:02x}" for byte in (0x02, 0x53, 0x42, *digest[:3]))


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    A virtual machine to be started.

    Attributes:
        name: A label of at most 20 letters, digits and dashes.
        node: Where; None is the first node of the first cluster.
        memory_mib: What it gets.
        dirty_mib_per_s: How much memory it writes to all the time.
    """

    name: str
    node: Node | None = None
    memory_mib: int = 256
    dirty_mib_per_s: int = 0


def require_wanted(wanted: Wanted) -> None:
    """
    Make sure that such a machine can be.

    Raises:
        InputError: It cannot; the message says what to give instead.
    """
    if _NAME.fullmatch(wanted.name) is None:
        raise InputError(
            f"cannot use {wanted.name!r} as name of a virtual machine",
            hint="give at most 20 lower-case letters, digits and dashes",
        )
    for option, value, least, most in (
        ("--memory", wanted.memory_mib, MEMORY_MIN_MIB, MEMORY_MAX_MIB),
        ("--dirty", wanted.dirty_mib_per_s, 0, DIRTY_MAX_MIB),
    ):
        if not least <= value <= most:
            raise InputError(f"cannot use {option} {value}", hint=f"give {least} to {most}")


def vm_dir(place: Place) -> Path:
    """Tell where the files of all virtual machines are."""
    return place.directory / "vm"


def launcher_of(place: Place, machine: Machine) -> Launcher:
    """Tell the launcher that a machine runs in."""
    directory = vm_dir(place) / machine.suffix
    return Launcher(machine.name, machine.node, machine.suffix, directory)


def qemu_daemon(launcher: Launcher) -> Daemon:
    """Describe the QEMU of a launcher."""
    return Daemon(
        f"QEMU of {launcher.vm} on {launcher.node}", launcher.netns, launcher.directory, "qemu"
    )


def read_machines(place: Place) -> tuple[Machine, ...]:
    """Read what is known of the virtual machines, by name."""
    machines = []
    for file in sorted(vm_dir(place).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            machines.append(Machine(**json.loads(file.read_bytes())))
    return tuple(machines)


def find_machine(place: Place, name: str) -> Machine | None:
    """Find a virtual machine that runs."""
    found = next((each for each in read_machines(place) if each.name == name), None)
    return found if found is not None and is_running(place, found) else None


def is_running(place: Place, machine: Machine) -> bool:
    """Tell whether a machine's QEMU runs."""
    return find_daemon(qemu_daemon(launcher_of(place, machine))) is not None


def write_machine(place: Place, machine: Machine) -> None:
    """Write down where a machine runs: from now on, that is where it is."""
    vm_dir(place).mkdir(parents=True, exist_ok=True)
    file = vm_dir(place) / f"{machine.name}.json"
    write_atomic(file, json.dumps(asdict(machine)).encode(), durable=False)


def new_suffix() -> str:
    """Make the end of a launcher's name."""
    return "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))


def moved(machine: Machine, launcher: Launcher) -> Machine:
    """Say of a machine that it runs in another launcher now."""
    return replace(machine, node=launcher.node, suffix=launcher.suffix)
