# SPDX-License-Identifier: Apache-2.0
"""A verification run of a lab that is up."""

from collections.abc import Callable

from spanbridge.lab.agents import Ask
from spanbridge.lab.prober import RunOptions, observe_scene
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.survey import expect_lab, survey_lab
from spanbridge.model.observations import Expectations, Observations

Step = Callable[[str], None]
"""Called with what is being done next, in a few words."""


def observe_lab_mesh(
    runtime: Runtime,
    *,
    ask: Ask,
    expected: Expectations | None = None,
    options: RunOptions | None = None,
    step: Step = lambda _: None,
) -> Observations:
    """
    Observe everything that a verdict is drawn from.

    Args:
        runtime: Of the lab; parts of it may be broken.
        ask: Asks agents.
        expected: What the network was meant to be; None for what the lab was made as.
        options: How to run.
        step: Told what is being done.

    Raises:
        NodeError: Something that all probes need is missing.
    """
    step("looking at pods, nodes and leases")
    return observe_scene(
        lambda: survey_lab(runtime, ask=ask),
        expected or expect_lab(runtime.lab),
        options or RunOptions(),
    )
