# SPDX-License-Identifier: Apache-2.0
"""What a verification run means: the state of each pair, and the causes."""

import enum
from collections import Counter
from dataclasses import dataclass, field

from spanbridge.model.findings import Finding, Severity
from spanbridge.model.observations import Observations

Pair = tuple[str, str]
"""Names of the source and the target endpoint."""


class Trouble(enum.StrEnum):
    """One thing that is wrong with a pair."""

    UNMEASURED = "unmeasured"
    NO_ADDRESS = "no-address"
    NO_FAMILY = "no-common-family"
    WRONG_ROUTE = "wrong-route"
    NO_NEIGHBOUR = "no-neighbour"
    SEVERAL_NEIGHBOURS = "several-neighbours"
    NO_ANSWER = "no-answer"
    LOSS = "loss"
    LATENCY = "latency"
    MTU = "mtu"
    PORT = "port"
    TLS = "tls"


class PairState(enum.StrEnum):
    """A pair in one word, best first."""

    GOOD = "good"
    POOR = "poor"
    """Answers, but something is wrong."""
    ONE_WAY = "one-way"
    """Packets pass in one direction only."""
    CUT = "cut"
    UNKNOWN = "unknown"
    """Could not be measured."""


class Lost(enum.StrEnum):
    """Which way packets of an unanswered pair were lost."""

    NEITHER = ""
    THERE = "there"
    BACK = "back"
    UNTOLD = "untold"
    """Nobody listened at the target, and the opposite pair fails too."""


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """
    One ordered pair.

    Attributes:
        source: Name of the asking endpoint.
        target: Name of the asked one.
        state: In one word.
        troubles: Everything that is wrong with it.
        lost: Which way, where nothing was answered.
        rtt_median_us: Round-trip time; None where nothing was answered.
        rtt_p99_us: The same.
        loss: Share of echo requests without an answer, 0 to 1; None where none was sent.
        path_mtu: Bytes of the largest IP packet that was answered; None if not measured.
        bits_per_s: Throughput; None where it was not measured.
    """

    source: str
    target: str
    state: PairState
    troubles: tuple[Trouble, ...] = ()
    lost: Lost = Lost.NEITHER
    rtt_median_us: int | None = None
    rtt_p99_us: int | None = None
    loss: float | None = None
    path_mtu: int | None = None
    bits_per_s: int | None = None

    @property
    def pair(self) -> Pair:
        """Source and target."""
        return self.source, self.target


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """
    A cause.

    Attributes:
        code: Stable, such as SBV01; all stand in docs/reference/verify.md.
        severity: An ``ERROR`` makes the verdict a failure.
        title: The kind of cause in a few words.
        message: One sentence that names who and what.
        evidence: Which observations say so, one a line.
        consequence: What happens in practice if it stays.
        remedies: Commands or steps that mend it, in order.
        pairs: Pairs whose trouble it explains.
        sites: Nodes that are to blame, as ``cluster/node``.
        links: Pairs of clusters between which the fault lies.
        certain: Whether the blamed part says so itself; else it was inferred from who
            reaches whom.
    """

    code: str
    severity: Severity
    title: str
    message: str
    evidence: tuple[str, ...] = ()
    consequence: str = ""
    remedies: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    sites: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    certain: bool = True

    def finding(self) -> Finding:
        """Make the finding that lint and doctor would give."""
        return Finding(
            code=self.code,
            severity=self.severity,
            message=self.message,
            subject=", ".join(self.sites) or " and ".join(" - ".join(each) for each in self.links),
            consequence=self.consequence,
            remedy="\n".join(self.remedies),
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What the observations mean.

    Attributes:
        observations: What was judged.
        pairs: One for each probe, in their order.
        diagnoses: Causes, the one to mend first in front.
    """

    observations: Observations
    pairs: tuple[PairVerdict, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether virtual machines may move."""
        return not any(each.severity is Severity.ERROR for each in self.diagnoses)

    @property
    def counts(self) -> dict[PairState, int]:
        """Pairs in each state, every state named."""
        found = Counter(each.state for each in self.pairs)
        return {state: found[state] for state in PairState}
