# SPDX-License-Identifier: Apache-2.0
"""`spanbridge verify`: whether virtual machines may move between clusters, and if not, why."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from spanbridge.cli.exits import Exit
from spanbridge.cli.options import examples, format_option

if TYPE_CHECKING:
    from spanbridge.model.observations import Expectations, Observations
    from spanbridge.model.verdict import Verdict

_OUTPUT: Final = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """
    What is to be written besides.

    Attributes:
        save: Where observations go.
        html: Where the report goes.
        junit: Where JUnit XML goes.
        output_format: Of standard output.
    """

    save: Path | None
    html: Path | None
    junit: Path | None
    output_format: str


@click.command(
    epilog=examples(
        "spanbridge verify network.yaml --html report.html",
        "spanbridge verify network.yaml --static",
        "spanbridge verify network.yaml --objects saved --html report.html",
        "sudo spanbridge verify --lab",
        "sudo spanbridge verify --lab --save seen.json --html report.html",
        "spanbridge verify --replay seen.json --junit verify.xml --format json",
    )
)
@click.argument(
    "intent", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--lab", is_flag=True, help="Observe the lab that is up on this machine.")
@click.option(
    "--static",
    is_flag=True,
    help="Judge what the objects of INTENT's clusters say; measure nothing.",
)
@click.option(
    "--objects",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The same of saved objects, DIR/CLUSTER.json each; asks no cluster.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Has the contexts of INTENT's clusters [default: $KUBECONFIG, then ~/.kube/config].",
)
@click.option(
    "--agents",
    default="spanbridge",
    show_default=True,
    metavar="NAMESPACE",
    help="Where the agents' pods are that measure in INTENT's clusters.",
)
@click.option(
    "--replay",
    type=click.Path(allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Observe nothing: judge what --save wrote; - reads standard input.",
)
@click.option(
    "--throughput",
    is_flag=True,
    help="Also measure, for a second each, how much passes between clusters.",
)
@click.option("--html", type=_OUTPUT, metavar="FILE", help="Write the report, one file.")
@click.option("--junit", type=_OUTPUT, metavar="FILE", help="Write JUnit XML.")
@click.option("--save", type=_OUTPUT, metavar="FILE", help="Write the observations.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/run/spanbridge-lab"),
    show_default=True,
    help="Where the lab keeps its files.",
)
@format_option("text", "json")
def verify(  # noqa: PLR0913  # one argument each option
    *,
    intent: Path | None,
    lab: bool,
    static: bool,
    objects: Path | None,
    kubeconfig: Path | None,
    agents: str,
    replay: Path | None,
    throughput: bool,
    html: Path | None,
    junit: Path | None,
    save: Path | None,
    state_dir: Path,
    output_format: str,
) -> int:
    """
    Say whether virtual machines may move between clusters, and if not, why.

    Observes who reaches whom between all virt-handlers and sync controllers: routes,
    neighbours, round trips, loss, path MTU, ports, certificates, addresses. INTENT says
    what the network was meant to be, and which clusters are asked; of a lab, that is
    otherwise known by its own parameters.

    Ends with 1 where there is a cause to mend, 3 where nothing can be observed.
    """
    if lab + (replay is not None) > 1 or not (lab or replay or intent):
        raise click.UsageError("say one of: INTENT, --lab, --replay FILE")
    if (static or objects or kubeconfig) and (lab or replay):
        raise click.UsageError("--static, --objects and --kubeconfig go with INTENT alone")
    if replay is not None and intent is not None:
        raise click.UsageError("--replay judges a file: it does not go with INTENT")
    if throughput and not lab:
        raise click.UsageError("--throughput goes with --lab alone")
    wanted = _Wanted(save, html, junit, output_format)
    if replay is not None:
        observations = _read(replay)
    elif lab:
        observations = _observe_lab(intent, state_dir, throughput=throughput)
    else:
        from spanbridge.cli.verify_clusters import ClusterRun, observe_clusters

        run = ClusterRun(Path(intent or ""), objects, static, agents, str(kubeconfig or ""))
        observations = observe_clusters(run)
    return _conclude(observations, wanted)


def _read(replay: Path) -> "Observations":
    from spanbridge.model.recording import parse_observations

    piped = str(replay) == "-"
    data = sys.stdin.buffer.read() if piped else replay.read_bytes()
    return parse_observations(data, "standard input" if piped else str(replay))


def _observe_lab(intent: Path | None, state_dir: Path, *, throughput: bool) -> "Observations":
    from spanbridge.agent.client import ask
    from spanbridge.cli.terminal import progress, progress_bar
    from spanbridge.lab.ground import require_root
    from spanbridge.lab.lifecycle import open_lab
    from spanbridge.lab.observe import lab_options, observe_lab_mesh
    from spanbridge.lab.place import Place, changing_alone

    require_root()
    expected = _expect(intent) if intent is not None else None
    runtime = open_lab(Place(state_dir.resolve()), whole=False)
    with changing_alone(), progress() as steps, progress_bar("probing pairs") as bar:

        def tell(done: int, total: int) -> None:
            steps.done()
            bar(done, total)

        def warn(what: str) -> None:
            click.echo(f"warning: {what}", err=True)

        return observe_lab_mesh(
            runtime,
            ask=ask,
            expected=expected,
            options=lab_options(throughput=throughput, progress=tell),
            step=steps,
            warn=warn,
        )


def _expect(intent: Path) -> "Expectations":
    from spanbridge.kube.source import read_source
    from spanbridge.stretch.expect import expect_intent
    from spanbridge.stretch.intent_file import find_intent, load_intent

    return expect_intent(load_intent(find_intent(read_source(intent), str(intent))))


def _conclude(observations: "Observations", wanted: _Wanted) -> int:
    """Judge, write what is wanted, and tell by the exit code."""
    from spanbridge.model.recording import render_observations
    from spanbridge.stretch.verify import verify as judge

    verdict = judge(observations)
    if wanted.save is not None:
        _write(wanted.save, render_observations(observations))
    if wanted.junit is not None:
        from spanbridge.report.verdict_junit import render_junit

        _write(wanted.junit, render_junit(verdict))
    if wanted.html is not None:
        from spanbridge.report.verdict_html import render_html

        _write(wanted.html, render_html(verdict))
    _show(verdict, wanted.output_format)
    return Exit.FINE if verdict.passed else Exit.FINDINGS


def _show(verdict: "Verdict", output_format: str) -> None:
    if output_format == "json":
        from spanbridge.report.verdict_json import render_verdict_json

        click.echo(json.dumps(render_verdict_json(verdict), indent=2))
        return
    from spanbridge.cli.terminal import facts
    from spanbridge.report.verdict_text import view_verdict

    console = facts()
    for each in view_verdict(verdict):
        console.print(each)


def _write(path: Path, text: str) -> None:
    from spanbridge.base.files import write_atomic

    write_atomic(path, text.encode(), mode=0o644)
