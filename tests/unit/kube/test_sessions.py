# SPDX-License-Identifier: Apache-2.0
"""Programs that answer line by line, run by a real server's exec over a WebSocket."""

import gc
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.kube.reading import AgentPod, open_cluster
from spanbridge.kube.sessions import Session, open_session
from spanbridge.testing.api_server import (
    Served,
    make_server_certificate,
    serving,
    write_kubeconfig,
)

PLACE = AgentPod("spanbridge", "agent-x", "agent")

ECHO = """
import json, sys
print(json.dumps({"protocol": 1}), flush=True)
held = []
for line in sys.stdin:
    request = json.loads(line)
    if request.get("die"):
        print("it burns", file=sys.stderr)
        sys.exit(7)
    if request.get("refuse"):
        answer = {"id": request["id"], "error": "cannot do that"}
    else:
        answer = {"id": request["id"], "size": len(request.get("text", "")), "said": "é" * 9000}
    if request.get("hold"):
        held.append(answer)
        continue
    for each in [answer, *held]:
        print(json.dumps(each), flush=True)
    held.clear()
"""


@contextmanager
def _session(
    tmp_path: Path, program: str = ECHO, *, tls: bool = False, served: Served | None = None
) -> Iterator[Session]:
    certificate = tmp_path / "server.pem"
    certificate.write_text(make_server_certificate())
    with serving(served or Served([]), certificate if tls else None) as url:
        config = write_kubeconfig(tmp_path / "config", [("east", url)],
                                  authority=certificate if tls else None)  # fmt: skip
        api = open_cluster("east", "east", str(config))
        command = [sys.executable, "-c", textwrap.dedent(program)]
        session = open_session(api, PLACE, command)
        try:
            yield session
        finally:
            session.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_an_answer_comes_to_whoever_asked(tmp_path: Path, *, tls: bool) -> None:
    with _session(tmp_path, tls=tls) as session:
        assert session.hello.result() == {"protocol": 1}
        asked = [session.ask({"text": "x" * size}) for size in range(20)]
        assert [each.result(10)["size"] for each in asked] == list(range(20))
        assert asked[0].result()["said"] == "é" * 9000


def test_answers_may_come_in_another_order(tmp_path: Path) -> None:
    with _session(tmp_path) as session:
        first = session.ask({"hold": True, "text": "one"})
        second = session.ask({"text": "three"})
        assert second.result(10)["size"] == 5
        assert first.result(10)["size"] == 3


def test_a_long_request_goes_in_pieces(tmp_path: Path) -> None:
    with _session(tmp_path) as session:
        assert session.ask({"text": "x" * 300_000}).result(10)["size"] == 300_000


def test_a_refusal_is_an_error_and_the_session_goes_on(tmp_path: Path) -> None:
    with _session(tmp_path) as session:
        with pytest.raises(NodeError, match="cannot do that"):
            session.ask({"refuse": True}).result(10)
        assert session.ask({}).result(10)["size"] == 0


def test_whoever_stopped_waiting_does_not_end_the_session_of_others(tmp_path: Path) -> None:
    with _session(tmp_path) as session:
        given_up = session.ask({"hold": True})
        assert given_up.cancel()
        assert session.ask({}).result(10)["size"] == 0
        assert session.ask({}).result(10)["size"] == 0


def test_whoever_waits_learns_why_the_program_ended(tmp_path: Path) -> None:
    with _session(tmp_path) as session:
        held = session.ask({"hold": True})
        fatal = session.ask({"die": True})
        for each in (held, fatal):
            with pytest.raises(NodeError, match="agent-x of cluster east: it burns"):
                each.result(10)
        with pytest.raises(NodeError, match="it burns"):
            session.ask({}).result(10)


def test_a_program_that_says_nothing_and_ends_has_its_exit_code_told(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="exit status 3"), _session(tmp_path, "raise SystemExit(3)"):
        pass


def test_the_program_ends_with_the_session(tmp_path: Path) -> None:
    mark = tmp_path / "ended"
    program = f"""
    import pathlib, sys
    print("{{}}", flush=True)
    sys.stdin.read()
    pathlib.Path({str(mark)!r}).touch()
    """
    with _session(tmp_path, program):
        assert not mark.exists()
    # Serving ends only when the process has: see `serving`.
    for _ in range(100):
        if mark.exists():
            break
        time.sleep(0.05)
    assert mark.exists()


# The library forgets the socket of a handshake that was refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_whoever_may_not_execute_learns_the_rule(tmp_path: Path) -> None:
    served = Served([], forbidden=frozenset({"exec"}))
    with pytest.raises(NodeError) as caught, _session(tmp_path, served=served):
        pass
    assert "403" in caught.value.message
    assert "resources: [pods/exec], verbs: [create, get]" in caught.value.hint
    del caught
    gc.collect()
