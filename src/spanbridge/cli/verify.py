# SPDX-License-Identifier: Apache-2.0
"""`spanbridge verify`: what a verification run means."""

import json
import sys
from pathlib import Path

import click

from spanbridge.cli.exits import Exit
from spanbridge.cli.options import examples, format_option

_OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command(
    epilog=examples(
        "spanbridge verify --replay seen.json",
        "spanbridge verify --replay seen.json --html report.html",
        "spanbridge verify --replay seen.json --junit verify.xml --format json",
    )
)
@click.option(
    "--replay",
    type=click.Path(allow_dash=True, path_type=Path),
    required=True,
    metavar="FILE",
    help="Observations of a run; - reads standard input.",
)
@click.option("--html", type=_OUTPUT, metavar="FILE", help="Write the report, one file.")
@click.option("--junit", type=_OUTPUT, metavar="FILE", help="Write JUnit XML.")
@click.option("--save", type=_OUTPUT, metavar="FILE", help="Write the observations.")
@format_option("text", "json")
def verify(
    *,
    replay: Path,
    html: Path | None,
    junit: Path | None,
    save: Path | None,
    output_format: str,
) -> int:
    """
    Say whether virtual machines may move between clusters, and if not, why.

    Judges what a run observed: who reaches whom, round trips, loss, path MTU, ports,
    certificates, addresses. Ends with 1 where there is a cause to mend.
    """
    from spanbridge.model.recording import parse_observations, render_observations
    from spanbridge.stretch.verify import verify as judge

    data = sys.stdin.buffer.read() if str(replay) == "-" else replay.read_bytes()
    observations = parse_observations(data, "standard input" if str(replay) == "-" else str(replay))
    verdict = judge(observations)
    if save is not None:
        _write(save, render_observations(observations))
    if junit is not None:
        from spanbridge.report.verdict_junit import render_junit

        _write(junit, render_junit(verdict))
    if html is not None:
        from spanbridge.report.verdict_html import render_html

        _write(html, render_html(verdict))
    if output_format == "json":
        from spanbridge.report.verdict_json import render_verdict_json

        click.echo(json.dumps(render_verdict_json(verdict), indent=2))
    else:
        from spanbridge.cli.terminal import facts
        from spanbridge.report.verdict_text import view_verdict

        console = facts()
        for each in view_verdict(verdict):
            console.print(each)
    return Exit.FINE if verdict.passed else Exit.FINDINGS


def _write(path: Path, text: str) -> None:
    from spanbridge.base.files import write_atomic

    write_atomic(path, text.encode(), mode=0o644)
