# SPDX-License-Identifier: Apache-2.0
"""
Repairs of a node as data: each step is a command for a shell, and the same for our own code.

An administrator pastes the commands; ``doctor --fix`` performs the steps itself.
"""

import shlex
from dataclasses import dataclass

Span = tuple[int, int]
"""First and last of consecutive VLAN ids."""


def spell_span(span: Span) -> str:
    """Write a span as ``bridge vlan`` takes it: 2, or 10-20."""
    return str(span[0]) if span[0] == span[1] else f"{span[0]}-{span[1]}"


@dataclass(frozen=True, slots=True)
class MakeBridge:
    """Make a bridge, and set it up."""

    name: str
    vlan_filtering: bool

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell."""
        filtering = " vlan_filtering 1" if self.vlan_filtering else ""
        return (
            f"ip link add name {self.name} type bridge{filtering}",
            f"ip link set dev {self.name} up",
        )


@dataclass(frozen=True, slots=True)
class FilterVlans:
    """Turn a bridge's VLAN filtering on."""

    bridge: str

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell."""
        return (f"ip link set dev {self.bridge} type bridge vlan_filtering 1",)


@dataclass(frozen=True, slots=True)
class SetUp:
    """Set a link up."""

    device: str

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell."""
        return (f"ip link set dev {self.device} up",)


@dataclass(frozen=True, slots=True)
class SetMtu:
    """Change a link's MTU, in bytes."""

    device: str
    mtu: int

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell."""
        return (f"ip link set dev {self.device} mtu {self.mtu}",)


@dataclass(frozen=True, slots=True)
class Enslave:
    """Make a link a port of a bridge."""

    device: str
    bridge: str

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell."""
        return (f"ip link set dev {self.device} master {self.bridge}",)


@dataclass(frozen=True, slots=True)
class EnsureUplink:
    """
    Make a device the uplink of a bridge, as ``spanbridge uplink ensure`` does.

    Attributes:
        device: The device.
        bridge: The bridge; made when missing.
        spans: Every VLAN that it shall carry; empty for a bridge that filters none.
        mtu: Bytes; 0 leaves it alone.
    """

    device: str
    bridge: str
    spans: tuple[Span, ...]
    mtu: int = 0

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell; there, the node's network manager keeps it as well."""
        words = ["spanbridge uplink ensure", self.device, "--bridge", self.bridge]
        words += [f"--vlan {spell_span(each)}" for each in self.spans]
        return (" ".join([*words, *([f"--mtu {self.mtu}"] if self.mtu else [])]),)


@dataclass(frozen=True, slots=True)
class AllowVlans:
    """Let VLANs pass a port, tagged; or one as the VLAN of untagged frames."""

    device: str
    spans: tuple[Span, ...]
    access: bool = False

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell."""
        end = " pvid untagged" if self.access else ""
        return tuple(
            f"bridge vlan add dev {self.device} vid {spell_span(each)}{end}" for each in self.spans
        )


@dataclass(frozen=True, slots=True)
class ForbidVlans:
    """Let VLANs pass a port no more."""

    device: str
    spans: tuple[Span, ...]

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell."""
        return tuple(
            f"bridge vlan del dev {self.device} vid {spell_span(each)}" for each in self.spans
        )


@dataclass(frozen=True, slots=True)
class RemoveLink:
    """Remove a link."""

    device: str

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell."""
        return (f"ip link del dev {self.device}",)


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """Set a sysctl; its name with slashes, since interface names may hold dots."""

    name: str
    value: str

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell."""
        return (f"sysctl -w {self.name}={self.value}",)


@dataclass(frozen=True, slots=True)
class AskAgent:
    """
    Have the agent do something.

    Attributes:
        words: After ``spanbridge agent``.
        query: The same for the agent's socket.
        socket: Where it listens.
        default: That is where everybody looks for it.
    """

    words: str
    query: str
    socket: str
    default: bool

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell."""
        where = "" if self.default else f" --socket {shlex.quote(self.socket)}"
        return (f"spanbridge agent {self.words}{where}",)


@dataclass(frozen=True, slots=True)
class Paste:
    """Something that only an administrator should run, or know: a line beginning with ``#``."""

    lines: tuple[str, ...]

    def commands(self) -> tuple[str, ...]:
        """Spell it for a shell."""
        return self.lines


Step = (
    MakeBridge
    | FilterVlans
    | SetUp
    | SetMtu
    | Enslave
    | EnsureUplink
    | AllowVlans
    | ForbidVlans
    | RemoveLink
    | SetSysctl
    | AskAgent
    | Paste
)


@dataclass(frozen=True, slots=True)
class Remedy:
    """
    What mends one fault.

    Attributes:
        steps: In their order.
        hazard: Why it is left to an administrator; empty for what ``--fix`` may do.
    """

    steps: tuple[Step, ...]
    hazard: str = ""

    @property
    def safe(self) -> bool:
        """Whether it takes nothing away from anybody, and can be done by our own code."""
        return not self.hazard and not any(isinstance(each, Paste) for each in self.steps)

    @property
    def commands(self) -> tuple[str, ...]:
        """Lines for a shell."""
        return tuple(line for step in self.steps for line in step.commands())
