# SPDX-License-Identifier: Apache-2.0
"""A live migration as it was watched: samples along its way, and how it ended."""

import enum
from dataclasses import dataclass


class Outcome(enum.StrEnum):
    """How a migration ended."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One look at a running migration.

    Attributes:
        at_ms: Milliseconds since the migration was asked for.
        transferred_bytes: Memory sent so far, all iterations.
        remaining_bytes: Memory still to be sent.
        dirty_bytes_per_s: How fast the guest dirties memory; 0 where QEMU does not tell.
        bytes_per_s: How fast memory is sent.
        iteration: Of pre-copy, from 1.
        expected_downtime_ms: What QEMU expects if it switched over now.
    """

    at_ms: int
    transferred_bytes: int
    remaining_bytes: int
    dirty_bytes_per_s: int = 0
    bytes_per_s: int = 0
    iteration: int = 1
    expected_downtime_ms: int = 0


@dataclass(frozen=True, slots=True)
class Migration:
    """
    One live migration.

    Attributes:
        vm: Name of the virtual machine.
        source: Where it ran, as ``cluster/node``.
        target: Where it was to run.
        mode: ``pre-copy`` or ``post-copy``.
        outcome: How it ended.
        total_ms: From the request to the end.
        paused_at_ms: When the guest stopped at the source; None where it never did.
        downtime_ms: As QEMU says.
        seen_downtime_ms: The longest gap between two ticks of the guest's counter.
        lost_ticks: Ticks of the guest's counter that never came, or came twice; must be 0.
        session_kept: Whether the guest's TCP session outlived it; None where nobody looked.
        migration0_bytes: Bytes that left the source's ``migration0`` meanwhile.
        elsewhere_bytes: Bytes of the migration on any other device; must be 0.
        samples: In the order of time.
        error: Why it did not complete; empty where it did.
    """

    vm: str
    source: str
    target: str
    mode: str
    outcome: Outcome
    total_ms: int
    paused_at_ms: int | None = None
    downtime_ms: int | None = None
    seen_downtime_ms: int | None = None
    migration0_bytes: int = 0
    elsewhere_bytes: int = 0
    samples: tuple[Sample, ...] = ()
    error: str = ""
    lost_ticks: int = 0
    session_kept: bool | None = None
