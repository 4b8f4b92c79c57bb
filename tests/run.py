# SPDX-License-Identifier: Apache-2.0
"""
Runs the tiers of tests and ends with one table and one total.

Unit tests and those in network namespaces run one after the other. Beside them, in lanes of
their own, what runs in a guest kernel and what mostly waits, the longest first, and then what
is short.

By hand: ``.venv/bin/python tests/run.py [TIER ...] [-- PYTEST ARGUMENTS]``
"""

import contextlib
import dataclasses
import queue
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

TIERS = ("unit", "browser", "netns", "waits", "vm", "lab", "verify", "peers")
BESIDE = ("lab", "waits", "verify", "vm", "peers", "browser")
"""Tiers that run beside the others, in the order in which they begin."""

GUESTS = ("lab", "verify", "vm")
"""Tiers that boot a guest kernel where this one lacks what they need."""

LANES_BESIDE = 2
"""How many of them at a time: a guest that is emulated keeps a processor busy, waiting does not."""

_WAITS = tuple(f"tests/netns/{each}" for each in ("agent", "dhcp", "lab", "probing"))

PLACES = {
    "netns": ("tests/netns", *(f"--ignore={each}" for each in _WAITS)),
    "waits": _WAITS,
    "vm": ("tests/vm", "--ignore=tests/vm/lab", "--ignore=tests/vm/verify"),
    "lab": ("tests/vm/lab",),
    "verify": ("tests/vm/verify",),
}
"""Where the tests of a tier are, unless in the folder of its name."""

PROJECT = Path(__file__).resolve().parent.parent
REPORTS = PROJECT / ".cache/reports"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one tier; `exit_code` 0 is the only good one."""

    tier: str
    exit_code: int
    passed: int
    failed: int
    skipped: int
    seconds: float


def run(tier: str, arguments: list[str], *, output: TextIO | None = None) -> Outcome:
    """Run one tier in a pytest of its own, which prints to ``output``."""
    report = REPORTS / f"{tier}.xml"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    pytest = [sys.executable, "-m", "pytest", *place_of(tier)]
    command = [*pytest, f"--junitxml={report}", *arguments]
    if tier in GUESTS:
        # Writes the byte code of the tests, which a guest cannot; and a broken module is
        # better seen before a guest is booted for it.
        collect = [*pytest, "--collect-only", "-qq"]
        subprocess.run(collect, cwd=PROJECT, check=False, stdout=output, stderr=output)
    code = subprocess.run(
        command, cwd=PROJECT, check=False, stdout=output, stderr=output
    ).returncode
    return read_outcome(tier, report, exit_code=code, seconds=time.monotonic() - started)


def place_of(tier: str) -> tuple[str, ...]:
    """Tell pytest where the tests of a tier are."""
    return PLACES.get(tier, (f"tests/{tier}",))


def read_outcome(tier: str, report: Path, *, exit_code: int, seconds: float) -> Outcome:
    """Count from the JUnit report; a tier that left none has failed."""
    if not report.exists():
        return Outcome(tier, exit_code or 1, 0, 1, 0, seconds)
    count = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314  # pytest wrote it
        for name in count:
            count[name] += int(suite.get(name, "0"))
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    return Outcome(tier, exit_code, passed, failed, count["skipped"], seconds)


def render_summary(outcomes: list[Outcome], *, seconds: float) -> str:
    """A table, and a closing line like pytest's with the total and the time of all tiers."""
    rows = [f"{'tier':<8}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"]
    rows += [
        f"{o.tier:<8}{o.passed:>8}{o.failed:>8}{o.skipped:>9}{o.seconds:>9.1f}"
        + (f"  exit {o.exit_code}" if o.exit_code else "")
        for o in outcomes
    ]
    passed, failed, skipped = (
        sum(getattr(o, name) for o in outcomes) for name in ("passed", "failed", "skipped")
    )
    words = [f"{failed} failed"] * bool(failed) + [f"{passed} passed"]
    words += [f"{skipped} skipped"] * bool(skipped)
    # A tier that broke off counts no failure, and must not read as passed.
    words += [f"{o.tier} broke off" for o in outcomes if o.exit_code and not o.failed]
    rows += ["", f"===== all tiers: {', '.join(words)} in {seconds:.2f}s ====="]
    return "\n".join(rows)


def run_all(tiers: list[str], arguments: list[str]) -> list[Outcome]:
    """Run tiers, those in beside beside the others; what they print is shown in the end."""
    beside = [tier for tier in BESIDE if tier in tiers]
    alone = [tier for tier in tiers if tier not in beside]
    if not alone and len(beside) == 1:
        beside, alone = [], beside
    outcomes: list[Outcome] = []
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for tier in beside:
        waiting.put(tier)
        print(f"tests: tier {tier} runs beside the others; it is shown in the end", flush=True)

    def run_waiting() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                outcomes.append(_run_to_log(waiting.get_nowait(), arguments))

    with ThreadPoolExecutor(LANES_BESIDE) as pool:
        lanes = [pool.submit(run_waiting) for _ in range(LANES_BESIDE)]
        for tier in alone:
            print(f"tests: tier {tier}", flush=True)
            outcomes.append(run(tier, arguments))
        run_waiting()
        for lane in lanes:
            lane.result()
    for tier in beside:
        print(f"tests: tier {tier}", flush=True)
        print(_log_of(tier).read_text(), flush=True)
    return sorted(outcomes, key=lambda each: tiers.index(each.tier))


def _log_of(tier: str) -> Path:
    return REPORTS / f"{tier}.log"


def _run_to_log(tier: str, arguments: list[str]) -> Outcome:
    with _log_of(tier).open("w") as log:
        return run(tier, arguments, output=log)


def main(words: list[str]) -> int:
    """Exit code 0 when every tier passed, 1 when one did not, 2 for a tier there is not."""
    cut = words.index("--") if "--" in words else len(words)
    wanted, arguments = words[:cut] or list(TIERS), words[cut + 1 :]
    if unknown := [tier for tier in wanted if tier not in TIERS]:
        print(f"tests: no tier {unknown[0]}; there are {', '.join(TIERS)}", file=sys.stderr)
        return 2
    REPORTS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    outcomes = run_all(wanted, arguments)
    print(f"\n{render_summary(outcomes, seconds=time.monotonic() - started)}", flush=True)
    return int(any(o.exit_code for o in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
