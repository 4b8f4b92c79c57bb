# SPDX-License-Identifier: Apache-2.0
"""What the agent tells about itself, over its socket."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge.agent.client import ask
from spanbridge.agent.journal import Attachment
from spanbridge.base.errors import NodeError, SpanbridgeError

if TYPE_CHECKING:
    from .conftest import Desk
else:
    Desk = Any


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


def test_gc_runs_the_del_that_never_came(
    start_desk: Callable[..., Desk], make_attachment: Callable[..., Attachment]
) -> None:
    from .conftest import say_hello

    seen: list[Any] = []

    def run(request: Any, cancelled: Callable[[], bool]) -> Any:  # noqa: ANN401  # as RunCall
        seen.append(request.frame)
        return say_hello(request, cancelled)

    desk = start_desk(run)
    desk.journal.put(make_attachment(boot_id="another boot"))
    done: Any = ask(desk.path, "gc")

    assert (len(done["collected"]), done["failed"], done["kept"]) == (1, [], 0)
    assert seen[0].environ["CNI_COMMAND"] == "DEL"
    assert (seen[0].environ["CNI_NETNS"], seen[0].stdin) == ("", b'{"name": "net1"}')


def test_an_unknown_query_is_refused_with_those_there_are(desk: Desk) -> None:
    with pytest.raises(SpanbridgeError, match="no such query") as caught:
        ask(desk.path, "moon")

    assert "status, attachments, leases, renew, gc" in caught.value.hint


def test_where_no_agent_runs_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="none runs at") as caught:
        ask(tmp_path / "none.sock", "status")

    assert "spanbridge agent run" in caught.value.hint
