# SPDX-License-Identifier: Apache-2.0
"""
Real network managers in a namespace: systemd-networkd and NetworkManager.

Each reads the files below a root that a test has filled, and nothing of the machine's:
/run is empty, /sys read-only (so that neither waits for udev), and NetworkManager gets a
configuration of its own. It comes from the system or from where ``make setup`` unpacked it.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from spanbridge.testing.plugin import Netns

NETWORKD: Final = Path("/lib/systemd/systemd-networkd")
UNPACKED: Final = Path(__file__).parents[3] / ".cache/networkmanager"

TIMEOUT_S: Final = 300
STOP_TIMEOUT_S: Final = 10

# The root may itself be below /run: it is entered before that is hidden. NetworkManager sets up
# bridges by way of /sys.
_PRIVATE: Final = (
    'set -e; cd "$1"; mount -t tmpfs tmpfs /run; '
    "mount --bind /sys/devices/virtual/net /sys/devices/virtual/net; "
    "mount -o remount,ro,bind /sys; "
)

_RUN_NETWORKD: Final = (
    _PRIVATE
    + "mkdir -p /run/systemd/network; cp etc/systemd/network/* /run/systemd/network/; "
    + f"exec env container=test SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console {NETWORKD}"
)

_RUN_NETWORKMANAGER: Final = (
    _PRIVATE
    + "mount -t tmpfs tmpfs /var/lib; mkdir -p /var/lib/NetworkManager /run/empty /run/keys; "
    + "cp -p etc/NetworkManager/system-connections/* /run/keys/; "
    + 'printf "[main]\\nplugins=keyfile\\ndns=none\\n[keyfile]\\npath=/run/keys\\n" > /run/conf; '
    # Without D-Bus: it makes what the files say, and leaves it there.
    + 'exec "$2" --debug --configure-and-quit=initrd --config /run/conf'
    + " --config-dir /run/empty --system-config-dir /run/empty --intern-config /run/intern"
    + " --state-file /run/state --log-level INFO"
)


def networkmanager_program() -> Path:
    """Find NetworkManager, or skip the test."""
    installed = shutil.which("NetworkManager", path="/usr/sbin:/usr/bin")
    found = Path(installed) if installed else UNPACKED / "usr/sbin/NetworkManager"
    if not found.exists():
        pytest.skip("NetworkManager is neither installed nor in .cache/networkmanager")
    asked = [str(found), "--version"]
    if subprocess.run(asked, env=_environ(), capture_output=True, check=False).returncode:
        pytest.skip("NetworkManager lacks libraries on this machine")
    return found


def _environ() -> dict[str, str]:
    libraries = ":".join(str(each) for each in sorted(UNPACKED.glob("usr/lib/*-linux-gnu*")))
    return os.environ | {"LD_LIBRARY_PATH": libraries}


def run_networkmanager(netns: Netns, root: Path) -> str:
    """Have NetworkManager make what the files below ``root`` say; what it logged."""
    program = networkmanager_program()
    done = subprocess.run(
        [*_enter(netns), _RUN_NETWORKMANAGER, "sh", str(root), str(program)],
        env=_environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextlib.contextmanager
def networkd_running(netns: Netns, root: Path, log: Path) -> Iterator[None]:
    """Run systemd-networkd with the files below ``root``; it logs to ``log``."""
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            [*_enter(netns), _RUN_NETWORKD, "sh", str(root)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield
            assert process.poll() is None, log.read_text()
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


def _enter(netns: Netns) -> list[str]:
    return ["ip", "netns", "exec", netns.name, "sh", "-c"]
