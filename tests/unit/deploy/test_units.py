# SPDX-License-Identifier: Apache-2.0
"""The systemd units: understood by systemd, and true to what the agent needs."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spanbridge.agent.settings import SOCKET, STATE_DIR, Limits

UNITS = Path(__file__).parents[3] / "deploy/systemd"
SERVICE = UNITS / "spanbridge-agent.service"
SOCKET_UNIT = UNITS / "spanbridge-agent.socket"

OWN_MOUNTS = (
    *("ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts"),
    *("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "TemporaryFileSystem"),
    *("ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc"),
    *("ProcSubset", "RootDirectory", "RootImage", "DynamicUser"),
)
"""Each gives a service a mount namespace. Source: systemd 252, exec_needs_mount_namespace()."""


def read(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as its manual says
    parser.read(path)
    return parser


@pytest.mark.parametrize("name", ["spanbridge-agent.service", "spanbridge-agent.socket"])
def test_systemd_finds_no_fault(tmp_path: Path, name: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("the program systemd-analyze (Debian: systemd) is missing")
    for unit in UNITS.iterdir():
        # What it starts has to exist here.
        text = unit.read_text().replace("/usr/local/bin/spanbridge", sys.executable)
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_service_socket_and_shim_agree_on_the_place() -> None:
    assert read(SOCKET_UNIT)["Socket"]["ListenStream"] == SOCKET
    assert read(SERVICE)["Service"]["Environment"] == f"SPANBRIDGE_SOCKET={SOCKET}"
    assert read(SERVICE)["Service"]["StateDirectory"] == Path(STATE_DIR).name
    assert read(SERVICE)["Service"]["RuntimeDirectory"] == Path(SOCKET).parent.name


def test_only_root_reaches_the_socket() -> None:
    assert read(SOCKET_UNIT)["Socket"]["SocketMode"] == "0600"


def test_the_socket_outlives_the_service() -> None:
    assert read(SERVICE)["Service"]["RuntimeDirectoryPreserve"] == "yes"


def test_a_stop_leaves_running_calls_their_time() -> None:
    assert int(read(SERVICE)["Service"]["TimeoutStopSec"]) > Limits().stop_s


def test_the_service_shares_the_mounts_of_the_node() -> None:
    assert not [name for name in OWN_MOUNTS if name in read(SERVICE)["Service"]]


def test_sysctls_stay_writable() -> None:
    assert "ProtectKernelTunables" not in read(SERVICE)["Service"]
