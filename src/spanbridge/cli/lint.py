# SPDX-License-Identifier: Apache-2.0
"""`spanbridge lint` and `spanbridge rule`: what is wrong in configurations, and why."""

import contextlib
import difflib
import gc
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from spanbridge.cli.exits import Exit
from spanbridge.cli.options import examples, format_option
from spanbridge.model.findings import Severity

if TYPE_CHECKING:
    from spanbridge.kube.collect import ClusterFiles
    from spanbridge.stretch.lint import Verdict

_COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


@click.command(
    epilog=examples(
        "spanbridge lint bridge-net.yaml",
        "spanbridge lint east/ west/",
        "spanbridge lint --format sarif plan/ > lint.sarif",
        "spanbridge lint --diff bridge-net.yaml",
        "oc get hyperconverged,net-attach-def,nncp -A -o yaml | spanbridge lint -",
    )
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(allow_dash=True, path_type=Path),
)
@click.option(
    "--select", multiple=True, metavar="CODES", help="Ask these rules only: SB012, SB0, a name."
)
@click.option("--ignore", multiple=True, metavar="CODES", help="Do not ask these rules.")
@click.option("--fix", is_flag=True, help="Change what can be changed safely, and tell the rest.")
@click.option("--diff", is_flag=True, help="Show what --fix would change; change nothing.")
@click.option(
    "--fail-on",
    type=click.Choice([each.value for each in Severity]),
    default=Severity.ERROR.value,
    show_default=True,
    help="The least severity that makes the exit code 1.",
)
@format_option("text", "json", "sarif", "github")
def lint(  # noqa: PLR0913  # one argument each option
    *,
    files: tuple[Path, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fix: bool,
    diff: bool,
    fail_on: str,
    output_format: str,
) -> int:
    """
    Find mistakes in network configurations before they are used.

    FILE is a CNI conf or conflist, YAML or JSON with Kubernetes objects, an intent, or a
    directory: that is one cluster, or holds one directory for each cluster. Several
    clusters are compared with each other.

    A comment `# spanbridge: ignore[SB012]` on a line, or above it, keeps a rule from
    being told there; `spanbridge rule SB012` explains a rule.
    """
    from spanbridge.kube.collect import collect
    from spanbridge.stretch.lint import RULES, parse_codes
    from spanbridge.stretch.lint import lint as ask

    standard_input = sys.stdin.read() if Path("-") in files else ""
    codes = parse_codes(select) if select else frozenset(rule.code for rule in RULES)
    codes -= parse_codes(ignore)
    with _nothing_to_collect():
        clusters = collect(files, standard_input=standard_input)
        verdict = ask(clusters, codes=codes)
        if diff:
            return _show_diff(clusters, verdict)
        if fix and _write(clusters, verdict):
            clusters = collect(files, standard_input=standard_input)
            verdict = ask(clusters, codes=codes)
    _show(clusters, verdict, codes, output_format)
    worst = list(Severity)[: list(Severity).index(Severity(fail_on)) + 1]
    failed = any(finding.severity in worst for finding in verdict.findings)
    return Exit.FINDINGS if failed else Exit.FINE


@contextlib.contextmanager
def _nothing_to_collect() -> Iterator[None]:
    """Leave garbage alone: what is read stays, and searching it costs a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _texts(clusters: "Iterable[ClusterFiles]") -> dict[str, str]:
    return {
        document.file: document.source.text
        for cluster in clusters
        for document in cluster.documents
    }


def _changed(clusters: "Iterable[ClusterFiles]", verdict: "Verdict") -> dict[str, tuple[str, str]]:
    """Apply the edits: old and new text by file, of those that change."""
    from spanbridge.stretch.lint import apply_edits

    texts = _texts(clusters)
    names = dict.fromkeys(edit.file for edit in verdict.edits)
    pairs = {
        name: (
            texts[name],
            apply_edits(texts[name], [each for each in verdict.edits if each.file == name]),
        )
        for name in names
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _show_diff(clusters: "Iterable[ClusterFiles]", verdict: "Verdict") -> int:
    changed = _changed(clusters, verdict)
    for name, (old, new) in changed.items():
        lines = difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), name, name
        )
        click.echo("".join(lines), nl=False)
    return Exit.FINDINGS if changed else Exit.FINE


def _write(clusters: "Iterable[ClusterFiles]", verdict: "Verdict") -> bool:
    from spanbridge.base.errors import InputError
    from spanbridge.base.files import write_atomic

    changed = _changed(clusters, verdict)
    for name, (_, new) in changed.items():
        path = Path(name)
        if name == "-":
            raise InputError("cannot fix standard input", hint="use --diff, or name the file")
        write_atomic(path, new.encode(), mode=path.stat().st_mode & 0o777)
        click.echo(f"changed: {name}", err=True)
    return bool(changed)


def _paint(text: str, severity: Severity) -> str:
    if os.environ.get("NO_COLOR"):
        return text
    return click.style(text, fg=_COLOURS[severity], bold=True)


def _show(
    clusters: "Iterable[ClusterFiles]",
    verdict: "Verdict",
    codes: Iterable[str],
    output_format: str,
) -> None:
    from spanbridge.report.findings import render_json, render_text
    from spanbridge.report.github import render_github

    if output_format == "json":
        click.echo(json.dumps(render_json(verdict.findings), indent=2))
    elif output_format == "sarif":
        click.echo(json.dumps(_sarif(verdict, codes), indent=2))
    elif output_format == "github":
        click.echo(render_github(verdict.findings), nl=False)
    else:
        told = {finding.position.file for finding in verdict.findings if finding.position}
        sources = {
            name: text.split("\n") for name, text in _texts(clusters).items() if name in told
        }
        text = render_text(verdict.findings, sources, paint=_paint)
        # click takes the colours out where the output is no terminal.
        click.echo(text, nl=False)


def _sarif(verdict: "Verdict", codes: Iterable[str]) -> dict[str, object]:
    from spanbridge import __version__
    from spanbridge.report.sarif import RuleText, render_sarif
    from spanbridge.stretch.lint import RULES

    wanted = frozenset(codes)
    texts = [
        RuleText(
            rule.code,
            rule.name,
            rule.severity,
            rule.summary,
            f"{rule.consequence} Instead: {rule.remedy}.",
        )
        for rule in RULES
        if rule.code in wanted
    ]
    return render_sarif(verdict.findings, texts, version=__version__)


@click.command(epilog=examples("spanbridge rule", "spanbridge rule SB030"))
@click.argument("codes", nargs=-1, metavar="[CODE]...")
@format_option("text", "json")
def rule(*, codes: tuple[str, ...], output_format: str) -> None:
    """
    Explain rules of `spanbridge lint`, each with a wrong and a right example.

    CODE is a rule's code or name; without one, all rules are listed.
    """
    from spanbridge.stretch.lint import RULES, find_rule
    from spanbridge.stretch.lint.pages import render_rule_json, render_rule_text

    chosen: Sequence[Any] = [find_rule(code) for code in codes] or RULES
    if output_format == "json":
        click.echo(json.dumps([render_rule_json(each) for each in chosen], indent=2))
    elif codes:
        click.echo("\n".join(map(render_rule_text, chosen)), nl=False)
    else:
        for each in chosen:
            severity = _paint(f"{each.severity.value:<8}", each.severity)
            click.echo(f"{each.code}  {severity} {each.name:<28} {each.summary}")
