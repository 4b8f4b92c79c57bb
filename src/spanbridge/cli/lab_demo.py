# SPDX-License-Identifier: Apache-2.0
"""`spanbridge lab demo`: a lab from its beginning to its end, with everything it can show."""

import dataclasses
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from rich.console import RenderableType
from rich.text import Text

from spanbridge.agent.client import ask
from spanbridge.base.files import write_atomic
from spanbridge.cli.exits import Exit
from spanbridge.cli.lab_options import PLAN_DIR, changing, planned
from spanbridge.cli.lab_view import show, view_plan, view_removed, view_verdict
from spanbridge.cli.options import examples
from spanbridge.cli.signals import ending_at_once
from spanbridge.cli.terminal import Steps, facts, progress, progress_behind_pipe
from spanbridge.lab.ground import MARK, Choice, Ground, observe_ground, run_elsewhere
from spanbridge.lab.leases import restart_agent
from spanbridge.lab.lifecycle import down, require_usable, temporary_lab
from spanbridge.lab.place import Place
from spanbridge.lab.proofs import Restart
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import LabParameters, plan_lab
from spanbridge.lab.verify import verify_lab
from spanbridge.model.timeline import Migration, Outcome
from spanbridge.model.verdict import Verdict

REPORT: Final = Path("report.html")
_VM: Final = "web"


@dataclass(frozen=True, slots=True)
class Demo:
    """
    What is to be shown.

    Attributes:
        parameters: Of the lab.
        place: Where its files go.
        bin_dir: CNI programs to use; None installs ours.
        report: Where the report goes; None does without a migration.
    """

    parameters: LabParameters
    place: Place
    bin_dir: Path | None
    report: Path | None


@dataclass(frozen=True, slots=True)
class _Crossing:
    """A migration, and what `verify` says of the lab that it went through."""

    migration: Migration
    verdict: Verdict

    @property
    def passed(self) -> bool:
        """Whether the machine crossed unharmed, on the right way, and may do so again."""
        one = self.migration
        crossed = one.outcome is Outcome.COMPLETED and one.session_kept and not one.lost_ticks
        return bool(crossed) and not one.elsewhere_bytes and self.verdict.passed


@click.command(
    epilog=examples(
        "spanbridge lab demo",
        "spanbridge lab demo --nodes 3 --vlan 100",
        "spanbridge lab demo --ipam host-local --report /tmp/report.html",
        "spanbridge lab demo --bin-dir /usr/lib/cni --no-migration",
    )
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    default=REPORT,
    show_default=True,
    help="Where the report goes, one HTML file.",
)
@click.option(
    "--migration/--no-migration",
    default=True,
    show_default=True,
    help="Move a virtual machine, and write the report.",
)
@planned
def demo(
    *,
    parameters: LabParameters,
    place: Place,
    bin_dir: Path | None,
    report: Path,
    migration: bool,
) -> int:
    """
    Bring the lab up, prove it, move a machine, and remove it.

    With a DHCP server, an agent is killed and started again before the lab is verified.
    Then a virtual machine is booted in the first cluster and migrates to the last one, and
    a report of it all is written.

    Runs in a guest kernel where this one has no VLAN filtering, and in a user namespace
    where you are not root; it says so. Leaves nothing behind but the report, also after
    Ctrl-C.
    """
    wanted = Demo(parameters, place, bin_dir, report if migration else None)
    require_usable(plan_lab(parameters), place, bin_dir)
    choice = observe_ground()
    if choice.ground is Ground.HERE:
        return _demo_here(wanted)
    click.echo(f"{choice.reason}: running in a {choice.ground.value}.", err=True)
    with ending_at_once():
        return _demo_elsewhere(wanted, choice)


def _demo_elsewhere(wanted: Demo, choice: Choice) -> int:
    """Run the same demo there; a guest gets a booted machine, and we get its report."""
    if choice.ground is not Ground.GUEST or wanted.report is None:
        return run_elsewhere(choice.ground, _render_words(wanted), progress_behind_pipe())
    with tempfile.TemporaryDirectory(prefix="spanbridge-report-") as shared:
        with progress() as steps:
            env = _boot_before(Path(shared), steps)
        made = Path(shared) / wanted.report.name
        words = _render_words(dataclasses.replace(wanted, report=made))
        kept = [Path(shared)]
        env |= progress_behind_pipe()
        code = run_elsewhere(choice.ground, words, env, shared_dirs_rw=kept)
        if made.exists():
            shutil.copyfile(made, wanted.report)
            _tell_report(wanted.report)
    return code


def _boot_before(directory: Path, steps: Steps) -> dict[str, str]:
    """Boot the machine out here: inside, emulation by emulation, that takes minutes."""
    from spanbridge.lab.vm.machine import Wanted
    from spanbridge.lab.vm.suspended import VARIABLE, suspend

    steps(f"booting {_VM} out here, to be woken in the guest kernel")
    suspend(directory, Wanted(_VM))
    return {VARIABLE: str(directory)}


def _demo_here(wanted: Demo) -> int:
    crossing = None
    with changing() as steps:
        lab = temporary_lab(wanted.parameters, wanted.place, bin_dir=wanted.bin_dir, step=steps)
        with lab as runtime:
            restart = _restart(runtime, steps)
            verdict = dataclasses.replace(verify_lab(runtime, step=steps), restart=restart)
            if wanted.report is not None:
                crossing = _cross(runtime, wanted.report, steps)
            removed = down(wanted.place, step=steps)
        steps.done()
        views: list[RenderableType] = [*view_plan(runtime), view_verdict(verdict)]
        views += _view_crossing(crossing) if crossing is not None else []
        show(facts(), *views, *view_removed(removed))
    if wanted.report is not None and os.environ.get(MARK) != Ground.GUEST.value:
        _tell_report(wanted.report)
    fine = verdict.passed and removed.clean and (crossing is None or crossing.passed)
    return Exit.FINE if fine else Exit.FINDINGS


def _tell_report(report: Path) -> None:
    click.echo(f"The report is {report.resolve()}")


def _restart(runtime: Runtime, steps: Steps) -> Restart | None:
    """Let an agent of the last cluster crash, where one keeps a lease."""
    if runtime.lab.dhcp is None:
        return None
    node = runtime.lab.clusters[-1].nodes[0]
    steps(f"killing the agent of {node.name}; its successor renews the lease")
    return restart_agent(runtime, node, ask=ask)


def _cross(runtime: Runtime, report: Path, steps: Steps) -> _Crossing:
    """Move a machine from the first cluster to the last, verify the lab, and report."""
    # All this takes long to import where a processor is emulated, and --no-migration needs none.
    from spanbridge.cli.lab_migrate import move
    from spanbridge.lab.migration.request import Options
    from spanbridge.lab.observe import lab_options, observe_lab_mesh
    from spanbridge.lab.vm.machine import Wanted
    from spanbridge.report.verdict_html import render_html
    from spanbridge.stretch.verify import verify

    last = runtime.lab.clusters[-1].name
    # A second natively; in an emulated guest, beside other work, it has taken minutes.
    patient = Options(stall_s=120, timeout_s=600)
    migration = move(runtime, Wanted(_VM), last, options=patient, steps=steps)
    seen = observe_lab_mesh(runtime, ask=ask, options=lab_options(), step=steps)
    steps("judging what was observed, and writing the report")
    verdict = verify(seen)
    write_atomic(report, render_html(verdict).encode(), mode=0o644)
    return _Crossing(migration, verdict)


def _view_crossing(crossing: _Crossing) -> list[RenderableType]:
    """Show the migration, and the verdict in one line where there is nothing to mend."""
    from spanbridge.cli.lab_migrate import view_migration
    from spanbridge.report.verdict_text import view_conclusion

    return [
        Text(),
        *view_migration(crossing.migration),
        *view_conclusion(crossing.verdict),
    ]


def _render_words(wanted: Demo) -> list[str]:
    """Write the command line of the same demo."""
    parameters = wanted.parameters
    words = ["lab", "demo", "--state-dir", str(wanted.place.directory)]
    words += (
        ["--migration", "--report", str(wanted.report)] if wanted.report else ["--no-migration"]
    )
    words += ["--bin-dir", str(wanted.bin_dir)] if wanted.bin_dir else []
    if directory := click.get_current_context().meta.get(PLAN_DIR):
        return [*words, "--plan", str(directory), "--nodes", str(parameters.nodes)]
    words += ["--clusters", ",".join(parameters.clusters)]
    words += ["--nodes", str(parameters.nodes), "--vlan", str(parameters.vlan)]
    words += ["--subnet", parameters.subnet, "--mtu", str(parameters.mtu)]
    return [*words, "--ipam", parameters.ipam]
