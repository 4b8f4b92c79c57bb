# SPDX-License-Identifier: Apache-2.0
"""A verification run of a lab that is up."""

import dataclasses
from collections.abc import Callable
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.agents import Ask
from spanbridge.lab.migration.records import read_migrations
from spanbridge.lab.prober import RunOptions, observe_scene
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin import ensure_standins
from spanbridge.lab.survey import expect_lab, survey_lab
from spanbridge.model.observations import Expectations, Observations
from spanbridge.probing.pace import measure_pace
from spanbridge.probing.pair import ProbeSettings
from spanbridge.probing.throughput import Bounds
from spanbridge.stretch.observing import Progress, RunSettings

_PROBE_S: Final = 600.0
"""Of the clock, for one pair. The limits that a prober keeps itself are on its own time."""

Step = Callable[[str], None]
"""Called with what is being done next, in a few words."""


def lab_options(
    *, throughput: bool = False, progress: Progress = lambda _done, _total: None
) -> RunOptions:
    """
    Make the usual options, as patient as this machine is slow.

    Args:
        throughput: Measure it too, for a second each.
        progress: Told after each probe.
    """
    return RunOptions(
        run=RunSettings(probe_timeout_s=_PROBE_S),
        probe=ProbeSettings(pace=measure_pace()),
        throughput=Bounds() if throughput else None,
        progress=progress,
    )


def observe_lab_mesh(
    runtime: Runtime,
    *,
    ask: Ask,
    expected: Expectations | None = None,
    options: RunOptions | None = None,
    step: Step = lambda _: None,
    warn: Step = lambda _: None,
) -> Observations:
    """
    Observe everything that a verdict is drawn from.

    Args:
        runtime: Of the lab; parts of it may be broken.
        ask: Asks agents.
        expected: What the network was meant to be; None for what the lab was made as.
        options: How to run.
        step: Told what is being done.
        warn: Told what could not be prepared; what follows from it is observed.

    Raises:
        NodeError: Something that all probes need is missing.
    """
    try:
        ensure_standins(runtime, step)
    except NodeError as exc:
        warn(str(exc))
    step("looking at pods, nodes and leases")
    seen = observe_scene(
        lambda: survey_lab(runtime, ask=ask),
        expected or expect_lab(runtime.lab),
        options or lab_options(),
    )
    return dataclasses.replace(seen, migrations=read_migrations(runtime.place))
