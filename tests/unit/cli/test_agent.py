# SPDX-License-Identifier: Apache-2.0
"""`spanbridge agent` as an operator sees it: what is drawn, and the exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from spanbridge.cli import agent_view, main

STATUS: dict[str, Any] = {
    "pid": 4711,
    "version": "0.1.0",
    "uptimeSeconds": 3661.4,
    "socket": "/run/spanbridge/agent.sock",
    "runDir": "/run/spanbridge",
    "stateDir": "/var/lib/spanbridge",
    "metrics": "",
    "attachments": 12,
    "leases": {"bound": 3, "renewing": 1},
    "calls": {"ADD": {"total": 20, "failed": 1}, "DEL": {"total": 8, "failed": 0}},
    "inFlight": 2,
    "abandoned": 0,
    "overloads": 0,
    "malformed": 5,
    "late": 0,
    "refused": 0,
}
ATTACHMENT: dict[str, Any] = {
    "network": "net1",
    "containerId": "c1",
    "ifname": "eth0",
    "netns": "/run/netns/pod",
    "addresses": ["10.1.2.3/24", "fd00::3/64"],
    "attached": 1700000000.0,
}


def drawn(view: RenderableType) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(view)
    return "\n".join(" ".join(line.split()) for line in capture.get().splitlines())


def test_status_shows_process_calls_and_leases() -> None:
    text = drawn(agent_view.status_view(STATUS))

    assert "agent Spanbridge 0.1.0, pid 4711" in text
    assert "up 1:01:01" in text
    assert "leases 3 bound, 1 renewing" in text
    assert "not calls 5 malformed" in text
    assert "ADD 20 1" in text


def test_attachments_show_who_has_which_address_since_when() -> None:
    text = drawn(agent_view.attachments_view([ATTACHMENT]))

    assert "net1 c1 eth0 10.1.2.3/24, fd00::3/64 2023-11-14 22:13:20Z" in text


def test_where_nothing_is_attached_that_is_said() -> None:
    assert drawn(agent_view.attachments_view([])) == "no attachments"
    assert drawn(agent_view.leases_view([])) == "no leases"


def test_gc_shows_what_was_undone_and_what_was_not() -> None:
    told = ATTACHMENT | {"cause": "/run/netns/pod is gone"}
    failed = told | {"containerId": "c2", "error": {"code": 5, "msg": "cannot lock it: busy"}}
    text = drawn(agent_view.gc_view({"kept": 7, "collected": [told], "failed": [failed]}))

    assert "net1 c1 eth0 /run/netns/pod is gone undone" in text
    assert "net1 c2 eth0 /run/netns/pod is gone cannot lock it: busy" in text
    assert "1 collected, 1 failed, 7 kept" in text


@pytest.mark.parametrize("query", ["status", "attachments", "leases", "gc"])
def test_without_an_agent_the_exit_code_is_3_and_the_remedy_is_named(
    query: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["agent", query, "--socket", str(tmp_path / "none.sock")])
    out, err = capsys.readouterr()

    assert (code, out) == (3, "")
    assert "none runs at" in err
    assert "spanbridge agent run" in err


def test_the_socket_is_also_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPANBRIDGE_SOCKET", str(tmp_path / "by-variable.sock"))

    assert main(["agent", "status"]) == 3
    assert "by-variable.sock" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("document", "code"), [({"failed": []}, 0), ({"failed": [1]}, 1)], ids=["clean", "failures"]
)
def test_gc_that_could_not_undo_everything_ends_with_1(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    document: dict[str, Any],
    code: int,
) -> None:
    monkeypatch.setattr("spanbridge.agent.client.ask", lambda *_: document)

    assert main(["agent", "gc", "--format", "json"]) == code
    assert json.loads(capsys.readouterr().out) == document


def test_a_place_for_figures_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    names = {"SOCKET": "agent.sock", "STATE": "state", "RUN": "run"}
    done = subprocess.run(
        [sys.executable, "-m", "spanbridge.cli", "agent", "run", "--metrics", "9469"],
        env=os.environ | {f"SPANBRIDGE_{key}": str(tmp_path / name) for key, name in names.items()},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "neither unix:PATH nor HOST:PORT" in done.stderr
    assert not (tmp_path / "agent.sock").exists()
