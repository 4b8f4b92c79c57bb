# SPDX-License-Identifier: Apache-2.0
"""
Brings each tier to the place it needs, also when pytest is started by hand.

`unit` and `browser` run where they are. `netns` and `peers` run in a sandbox (own
network and mounts, see spanbridge.testing.sandbox). `vm` runs in a sandbox too, on a
kernel with VLANs: this one, or a guest that is booted once for the whole tier. The machine
that moves in a lab is booted before that, outside, where it takes seconds.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from spanbridge.lab import guest
from spanbridge.lab.vm import suspended
from spanbridge.lab.vm.machine import Wanted
from spanbridge.testing import sandbox

TESTS = Path(__file__).parent
PROJECT = TESTS.parent
LABS = TESTS / "vm/lab"
REPORTS = PROJECT / ".cache/reports"
PASSED_ON = ("CI", "SPANBRIDGE_ALLOW_SKIPS")
GUEST_TIMEOUT_S = 3600
# Ends the tier between two tests, with its failures shown; the guest's limit ends it mute.
GUEST_SESSION_TIMEOUT_S = 3300
# Python in an emulated guest is 20 to 50 times slower; the limit is for what hangs.
GUEST_TEST_TIMEOUT_S = 400


def pytest_configure(config: pytest.Config) -> None:
    if config.option.collectonly or config.option.help or hasattr(config, "workerinput"):
        return
    tiers = _tiers(config)
    if tiers <= {"unit", "browser"}:
        return
    if "vm" in tiers and (lacking := guest.kernel_lacks_vlans()):
        _leave_for_guest(config, tiers=tiers, lacking=lacking)
    elif not sandbox.inside():
        _leave_for_sandbox(config)


def _tiers(config: pytest.Config) -> set[str]:
    """The folders under tests/ that this run can reach."""
    tiers = {path.name for path in TESTS.iterdir() if path.is_dir()}
    reached = set()
    for word in config.args:
        path = (config.invocation_params.dir / word.split("::")[0]).resolve()
        if TESTS.is_relative_to(path):
            reached |= tiers
        elif path.is_relative_to(TESTS):
            reached.add(path.relative_to(TESTS).parts[0])
    return reached & tiers


def _leave_for_sandbox(config: pytest.Config) -> None:
    if (why := sandbox.missing(needed=[PROJECT, Path(sys.base_prefix)])) is not None:
        raise pytest.UsageError(f"cannot make a sandbox for these tests: {why}")
    _restore_output(config)
    sandbox.enter(_again(config))


def _leave_for_guest(config: pytest.Config, *, tiers: set[str], lacking: str) -> None:
    if tiers != {"vm"}:
        raise pytest.UsageError(
            f"this kernel lacks {lacking}, so tests/vm runs in a guest kernel, on its own: "
            "`pytest tests/vm`; all tiers: `make test`"
        )
    _restore_output(config)
    print(f"tests/vm: this kernel lacks {lacking}; booting a guest kernel for them", flush=True)
    REPORTS.mkdir(parents=True, exist_ok=True)
    kept = {
        name: os.environ[name] for name in ("CI", "SPANBRIDGE_ALLOW_SKIPS") if name in os.environ
    }
    try:
        with tempfile.TemporaryDirectory(prefix="spanbridge-asleep-") as asleep:
            if _reaches(config, LABS):
                suspended.suspend(Path(asleep), Wanted("web"))
                kept[suspended.VARIABLE] = asleep
            code = guest.run_in_guest(
                [*_again(config), f"--session-timeout={GUEST_SESSION_TIMEOUT_S}"],
                shared_dirs_rw=[REPORTS],
                env=kept | {"PYTEST_TIMEOUT": str(GUEST_TEST_TIMEOUT_S)},
                timeout_s=GUEST_TIMEOUT_S,
            )
    except Exception as exc:  # noqa: BLE001  # the process ends here, whatever it was
        print(f"tests/vm: {exc}", file=sys.stderr, flush=True)
        code = 3
    except KeyboardInterrupt:
        code = 130
    except SystemExit as exc:  # a signal asked us to end
        code = int(exc.code or 0)
    sys.stdout.flush()
    os._exit(code)


def _reaches(config: pytest.Config, folder: Path) -> bool:
    """Tell whether this run has tests of a folder."""
    here = config.invocation_params.dir
    ignored = [(here / word).resolve() for word in config.getoption("ignore") or []]
    paths = [(here / word.split("::")[0]).resolve() for word in config.args]
    reached = any(folder.is_relative_to(path) or path.is_relative_to(folder) for path in paths)
    return reached and folder not in ignored


def _again(config: pytest.Config) -> list[str]:
    """This very pytest call, as a command."""
    return [sys.executable, "-m", "pytest", *map(str, config.invocation_params.args)]


def _restore_output(config: pytest.Config) -> None:
    """Give the successor the real stdout; pytest has put a file in its place by now."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
