# SPDX-License-Identifier: Apache-2.0
"""
Ask many addresses for an echo, from one network namespace.

First every target is asked until it answers, so that address resolution and ports
that still come up cost no loss; then the measured rounds. A target that never
answers costs ``patience_s``, all silent targets together, not each.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from spanbridge.probing.echo import EchoSettings, Pinger, find_present, measure, open_pinger
from spanbridge.probing.pace import Pace


@dataclass(frozen=True, slots=True)
class PingSettings:
    """
    How to ask.

    Attributes:
        rounds: Measured echoes to each target that is there at all.
        reply_s: How long a measured echo may take; later counts as lost.
        patience_s: How long a target may stay silent before it counts as unreachable.
        again_s: Pause between two questions to a target that has not answered yet.
    """

    rounds: int = 5
    reply_s: float = 2.0
    patience_s: float = 20.0
    again_s: float = 0.25


@dataclass(frozen=True, slots=True)
class PingResult:
    """
    What one target answered.

    Attributes:
        target: Its address.
        sent: Echoes that count: the measured ones, or all when none was ever answered.
        rtts_ms: Round-trip times of the answers, in the order sent.
        duplicates: Answers beyond the first to one question: two owners of one address.
    """

    target: str
    sent: int
    rtts_ms: tuple[float, ...]
    duplicates: int = 0

    @property
    def received(self) -> int:
        """Echoes answered in time."""
        return len(self.rtts_ms)

    @property
    def loss(self) -> float:
        """Share of the echoes that was not answered, 0 to 1."""
        return 1 - self.received / self.sent if self.sent else 1.0

    @property
    def rtt_min_ms(self) -> float | None:
        """Shortest round trip; None without an answer."""
        return min(self.rtts_ms, default=None)

    @property
    def rtt_median_ms(self) -> float | None:
        """Median round trip; None without an answer."""
        return median(self.rtts_ms) if self.rtts_ms else None


def open_echo_socket() -> Pinger:
    """Open what ``ping`` works on, in the namespace of the calling thread."""
    return open_pinger(4)


def ping(pinger: Pinger, targets: Sequence[str], settings: PingSettings) -> tuple[PingResult, ...]:
    """Ask every IPv4 target, all at once; the results come in the order of ``targets``."""
    return asyncio.run(_ping(pinger, targets, settings))


async def _ping(
    pinger: Pinger, targets: Sequence[str], settings: PingSettings
) -> tuple[PingResult, ...]:
    how = EchoSettings(
        count=settings.rounds,
        burst=1,
        reply_s=settings.reply_s,
        patience_s=settings.patience_s,
        again_s=settings.again_s,
    )

    async def ask(target: str) -> PingResult:
        with pinger.run(target) as run:
            if await find_present(pinger, run, how, Pace()):
                await measure(pinger, run, how, Pace())
            rtts_ms = tuple(run.rtt_us[each] / 1000 for each in sorted(run.rtt_us))
            return PingResult(target, len(run.sent_ns), rtts_ms, run.duplicates)

    return tuple(await asyncio.gather(*map(ask, targets)))
