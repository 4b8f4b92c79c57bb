# SPDX-License-Identifier: Apache-2.0
"""What the agent tells about itself, over its socket."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge.agent import queries
from spanbridge.agent.calls import Outcome
from spanbridge.agent.client import ask, receive_answer
from spanbridge.agent.journal import Attachment
from spanbridge.agent.receive import Request
from spanbridge.base.errors import NodeError, SpanbridgeError
from spanbridge.model.frames import AnswerFrame, CallFrame
from spanbridge.rtnl import NetNs

if TYPE_CHECKING:
    from .conftest import Desk
else:
    Desk = Any

DONE = Outcome(AnswerFrame(0, b"", b""), 0, 0.001)


def test_status_counts_calls_by_verb(desk: Desk) -> None:
    desk.call("ADD")
    desk.call("ADD")
    desk.call("DEL")
    status: Any = ask(desk.path, "status")

    assert status["calls"] == {
        "ADD": {"total": 2, "failed": 0},
        "DEL": {"total": 1, "failed": 0},
    }
    assert status["socket"] == str(desk.path)


def test_attachments_are_listed_oldest_first(
    desk: Desk, make_attachment: Callable[..., Attachment]
) -> None:
    desk.journal.put(make_attachment("late", attached_s=9.0))
    desk.journal.put(make_attachment("early", attached_s=1.0))
    listed: Any = ask(desk.path, "attachments")

    assert [each["containerId"] for each in listed] == ["early", "late"]
    assert listed[0]["addresses"] == ["10.1.2.3/24"]


@pytest.fixture
def undone_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets gc work in our own namespace: another one takes privileges."""
    monkeypatch.setattr(queries, "open_host", lambda *_: NetNs.current())


@pytest.mark.usefixtures("undone_here")
def test_gc_runs_the_del_that_never_came(
    start_desk: Callable[..., Desk], make_attachment: Callable[..., Attachment]
) -> None:
    seen: list[CallFrame] = []

    def run(request: Request, _cancelled: Callable[[], bool]) -> Outcome:
        seen.append(request.frame)
        return DONE

    desk = start_desk(run)
    desk.journal.put(make_attachment(boot_id="another boot"))
    done: Any = ask(desk.path, "gc")

    assert (len(done["collected"]), done["failed"], done["kept"]) == (1, [], 0)
    assert seen[0].environ["CNI_COMMAND"] == "DEL"
    assert (seen[0].environ["CNI_NETNS"], seen[0].stdin) == ("", b'{"name": "net1"}')


@pytest.mark.usefixtures("undone_here")
def test_gc_leaves_what_was_made_anew_while_it_waited_for_its_turn(
    start_desk: Callable[..., Desk], make_attachment: Callable[..., Attachment]
) -> None:
    verbs: list[str] = []
    added = threading.Event()

    def run(request: Request, _cancelled: Callable[[], bool]) -> Outcome:
        verbs.append(request.frame.environ["CNI_COMMAND"])
        added.wait(10)
        return DONE

    desk = start_desk(run)
    desk.journal.put(make_attachment(boot_id="another boot"))
    with desk.send("ADD") as adding, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, desk.path, "gc")
        while desk.tally.in_flight < 2:
            time.sleep(0.005)
        desk.journal.put(make_attachment(boot_id="another boot", attached_s=2e9))
        added.set()
        receive_answer(adding)
        done: Any = asked.result(10)

    assert (done["collected"], done["failed"], done["kept"]) == ([], [], 1)
    assert verbs == ["ADD"]


def test_an_unknown_query_is_refused_with_those_there_are(desk: Desk) -> None:
    with pytest.raises(SpanbridgeError, match="no such query") as caught:
        ask(desk.path, "moon")

    assert "status, attachments, leases" in caught.value.hint


def test_where_no_agent_runs_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="none runs at") as caught:
        ask(tmp_path / "none.sock", "status")

    assert "spanbridge agent run" in caught.value.hint
