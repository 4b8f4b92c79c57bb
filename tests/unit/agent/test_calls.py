# SPDX-License-Identifier: Apache-2.0
"""From a request to its answer, with a plugin that the test makes up."""

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from spanbridge.agent.calls import AnswerCall, Calls, Outcome
from spanbridge.agent.journal import Journal
from spanbridge.agent.parts import Parts
from spanbridge.agent.receive import Request
from spanbridge.base import log
from spanbridge.cni.surroundings import Surroundings, never
from spanbridge.model.frames import CallFrame
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs

OWN_NETNS = "/proc/self/ns/net"
CONF: dict[str, Any] = {"cniVersion": "1.1.0", "name": "net1", "type": "bridge"}
RESULT: dict[str, object] = {"cniVersion": "1.1.0", "ips": [{"address": "10.1.2.3/24"}]}
ENVIRON = {
    "CNI_CONTAINERID": "c1",
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": OWN_NETNS,
    "CNI_PATH": "/opt/cni/bin",
    "CNI_ARGS": "A=b",
}

MakeCall = Callable[..., Outcome]


def succeed(*_: object) -> tuple[dict[str, object] | None, int]:
    return RESULT, 0


def fail(*_: object) -> tuple[dict[str, object] | None, int]:
    return {"cniVersion": "1.1.0", "code": 111, "msg": "cannot do it", "details": "mend it"}, 1


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "attachments")


@pytest.fixture
def make_call(journal: Journal, tmp_path: Path) -> Iterator[MakeCall]:
    """Makes a call, answered by a function of the test."""
    opened: list[Request] = []

    def make(
        answer: AnswerCall = succeed,
        verb: str = "ADD",
        *,
        program: str = "bridge",
        caller: bool = True,
        conf: Mapping[str, object] | bytes = CONF,
        environ: Mapping[str, str] | None = None,
    ) -> Outcome:
        stdin = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
        sent = ENVIRON | {"CNI_COMMAND": verb} | dict(environ or {})
        frame = CallFrame(program, sent, stdin, caller=caller, sandbox=True)
        host = NetNs.open(OWN_NETNS) if caller else None
        request = Request(frame, host, os.open(OWN_NETNS, os.O_RDONLY))
        opened.append(request)
        calls = Calls(journal, tmp_path / "run", parts=Parts(), answer=answer)
        outcome = calls.run(request, never)
        outcome.epilogue()
        return outcome

    yield make
    for request in opened:
        request.close()


def document_of(outcome: Outcome) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(outcome.answer.stdout)
    return document


def test_the_answer_is_printed_as_by_the_one_shot_program(make_call: MakeCall) -> None:
    outcome = make_call()

    assert outcome.answer.stdout.decode() == json.dumps(RESULT) + "\n"
    assert (outcome.answer.status, outcome.code) == (0, 0)


def test_a_verb_without_a_result_prints_nothing(make_call: MakeCall) -> None:
    assert make_call(lambda *_: (None, 0), "DEL").answer.stdout == b""


def test_the_verbs_get_what_came_along(make_call: MakeCall, tmp_path: Path) -> None:
    seen: list[tuple[object, ...]] = []

    def answer(*given: object) -> tuple[dict[str, object] | None, int]:
        seen.append(given)
        return succeed()

    make_call(answer, program="static")
    program, environ, stdin, around = seen[0]
    assert isinstance(around, Surroundings)
    assert isinstance(environ, dict)

    assert (program, json.loads(str(stdin, "utf-8"))) == ("static", CONF)  # type: ignore[call-overload]  # an object here
    assert environ["CNI_CONTAINERID"] == "c1"
    assert (around.run_dir, around.by_descriptor) == (tmp_path / "run", True)
    assert around.host.is_current()


def test_a_delegated_plugin_finds_its_tools_by_the_agents_path(make_call: MakeCall) -> None:
    seen: list[Mapping[str, str]] = []

    def answer(
        _program: str, environ: Mapping[str, str], *_: object
    ) -> tuple[dict[str, object] | None, int]:
        seen.append(environ)
        return succeed()

    make_call(answer)

    assert seen[0]["PATH"] == os.environ["PATH"]


def test_a_call_without_the_callers_namespace_is_refused(make_call: MakeCall) -> None:
    outcome = make_call(caller=False)

    assert (outcome.code, document_of(outcome)["code"]) == (4, 4)
    assert "network namespace did not come along" in document_of(outcome)["msg"]


def test_a_mistake_of_ours_is_answered_and_logged(
    make_call: MakeCall, agent_log: io.StringIO
) -> None:
    def answer(*_: object) -> tuple[dict[str, object] | None, int]:
        raise LookupError("nothing there")

    outcome = make_call(answer)

    assert outcome.code == 100
    assert "LookupError: nothing there" in document_of(outcome)["msg"]
    assert "Traceback" in agent_log.getvalue()


# -------------------------------------------------------------------- what is said


def warn(*_: object) -> tuple[dict[str, object] | None, int]:
    log.warn("unknown key is ignored", pointer="/isGatway")
    log.relay("words of another program")
    return RESULT, 0


def test_warnings_go_into_the_answer_as_the_one_shot_program_prints_them(
    make_call: MakeCall, agent_log: io.StringIO
) -> None:
    outcome = make_call(warn)

    assert outcome.answer.stderr.decode() == (
        'level=warning msg="unknown key is ignored" pointer=/isGatway\nwords of another program\n'
    )
    assert "words of another program" in agent_log.getvalue()


def test_every_event_of_a_call_carries_its_fields(
    make_call: MakeCall, agent_log: io.StringIO
) -> None:
    make_call(warn)
    first, *_, last = agent_log.getvalue().splitlines()
    fields = ("program=bridge", "verb=ADD", "network=net1", "container=c1", "interface=eth0")

    assert all(f" {field}" in line for line in (first, last) for field in fields)
    assert "msg=answered" in last


def test_the_fields_of_one_call_are_not_in_the_next(
    make_call: MakeCall, agent_log: io.StringIO
) -> None:
    make_call(warn)
    log.warn("outside")

    assert "container" not in agent_log.getvalue().splitlines()[-1]


def test_a_failure_is_logged_with_code_cause_and_remedy(
    make_call: MakeCall, agent_log: io.StringIO
) -> None:
    outcome = make_call(fail)

    assert outcome.code == 111
    assert 'code=111 cause="cannot do it" hint="mend it"' in agent_log.getvalue()


# -------------------------------------------------------------------- the journal


def test_a_successful_add_is_journalled(make_call: MakeCall, journal: Journal) -> None:
    make_call()
    found = journal.find(Owner.of("net1", "c1", "eth0"))
    own = Path(OWN_NETNS).stat()
    assert found is not None

    assert (found.netns, found.visible) == (OWN_NETNS, True)
    assert found.sandbox == found.host == (own.st_dev, own.st_ino)
    assert (found.args, found.path, json.loads(found.config)) == ("A=b", "/opt/cni/bin", CONF)
    assert found.result == RESULT


def test_a_path_that_leads_elsewhere_is_journalled_as_such(
    make_call: MakeCall, journal: Journal
) -> None:
    make_call(environ={"CNI_NETNS": "/run/netns/of-another-mount-namespace"})

    assert [each.visible for each in journal.all()] == [False]


@pytest.mark.parametrize("program", ["host-local", "static", "dhcp"])
def test_who_only_gives_out_addresses_makes_no_attachment(
    make_call: MakeCall, journal: Journal, program: str
) -> None:
    make_call(program=program)

    assert len(journal) == 0


def test_a_failed_add_is_not_journalled(make_call: MakeCall, journal: Journal) -> None:
    make_call(fail)

    assert len(journal) == 0


def test_del_ends_the_record_and_a_failed_one_does_not(
    make_call: MakeCall, journal: Journal
) -> None:
    make_call()
    make_call(fail, "DEL")
    assert len(journal) == 1
    make_call(lambda *_: (None, 0), "DEL")

    assert len(journal) == 0


def test_gc_keeps_the_valid_ones_and_other_networks(make_call: MakeCall, journal: Journal) -> None:
    for container in ("c1", "c2"):
        make_call(environ={"CNI_CONTAINERID": container})
    make_call(conf=CONF | {"name": "net2"})
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    make_call(lambda *_: (None, 0), "GC", conf=CONF | {"cni.dev/valid-attachments": valid})

    assert {(each.owner.network, each.owner.container_id) for each in journal.all()} == {
        ("net1", "c2"),
        ("net2", "c1"),
    }


def test_a_journal_that_cannot_be_written_does_not_fail_the_call(
    make_call: MakeCall, tmp_path: Path, agent_log: io.StringIO
) -> None:
    (tmp_path / "attachments").rmdir()

    assert make_call().answer.status == 0
    assert "cannot keep the journal" in agent_log.getvalue()
