# SPDX-License-Identifier: Apache-2.0
"""The one-shot program from outside: what it prints, where, and its exit status."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge import __version__
from spanbridge.cni import program
from spanbridge.model.version import SUPPORTED

if TYPE_CHECKING:
    from .conftest import Programs
else:
    Programs = Any

GOOD = {"cniVersion": "1.0.0", "name": "net", "type": "bridge"}
POOL = {"type": "host-local", "subnet": "10.88.0.0/24", "dataDir": "/nowhere/data"}
TWO_POOLS = [[{"subnet": "10.88.0.0/24"}], [{"subnet": "10.88.0.128/25"}]]
TRUNK = [{"minID": 9, "maxID": 3}]

MALFORMED: dict[str, tuple[object, int, str, str]] = {
    "wrong type": (GOOD | {"vlan": "2"}, 7, "/vlan", "without quotes"),
    "unknown version": (GOOD | {"cniVersion": "9.9.9"}, 1, "/cniVersion", "1.1.0"),
    "vlan 4095": (GOOD | {"vlan": 4095}, 7, "/vlan", "4094"),
    "min over max": (GOOD | {"vlanTrunk": TRUNK}, 7, "/vlanTrunk/0/minID", "swap"),
    "overlapping ranges": (
        GOOD | {"ipam": {"type": "host-local", "ranges": TWO_POOLS}},
        7,
        "/ipam/ranges/1/0/subnet",
        "rangeStart",
    ),
    "ipam on a dead link": (
        GOOD | {"disableContainerInterface": True, "ipam": POOL},
        7,
        "/disableContainerInterface",
        'remove "ipam"',
    ),
    "hairpin with promisc": (
        GOOD | {"hairpinMode": True, "promiscMode": True},
        7,
        "/hairpinMode",
        "keep one",
    ),
    "address outside": (
        GOOD | {"ipam": POOL | {"rangeStart": "10.99.0.5"}},
        7,
        "/ipam/rangeStart",
        "choose an address",
    ),
    "missing name": ({"cniVersion": "1.0.0"}, 7, "/name", "write for example"),
    "broken json": (b'{"cniVersion": "1.0.0",\n "name": net}', 6, "", "write one JSON object"),
}
BY_CASE = pytest.mark.parametrize("case", MALFORMED)


@BY_CASE
def test_a_malformed_configuration_gets_one_error_with_pointer_and_remedy(
    programs: Programs, case: str
) -> None:
    stdin, code, pointer, remedy = MALFORMED[case]
    outcome = programs.call("ADD", stdin)
    error = outcome.document()

    assert (outcome.status, outcome.stderr) == (1, "")
    assert set(error) == {"cniVersion", "code", "msg", "details"}
    assert (error["code"], error["cniVersion"] in SUPPORTED) == (code, True)
    assert error["msg"].startswith("cannot ")
    assert error["details"].startswith(f"at {pointer}; " if pointer else "write")
    assert remedy in error["details"]


@BY_CASE
def test_a_malformed_configuration_leaves_no_file(programs: Programs, case: str) -> None:
    programs.call("ADD", MALFORMED[case][0])

    assert not (programs.directory / "run").exists()


def test_broken_json_is_located(programs: Programs) -> None:
    error = programs.call("ADD", MALFORMED["broken json"][0]).document()

    assert "line 2 column 10" in error["msg"]


@pytest.mark.parametrize("version", SUPPORTED)
def test_an_error_speaks_the_version_it_was_asked_in(programs: Programs, version: str) -> None:
    error = programs.call("ADD", GOOD | {"cniVersion": version, "vlan": 4095}).document()

    assert error["cniVersion"] == version


@pytest.mark.parametrize(
    ("verb", "version"),
    [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "0.4.0")],
)
def test_a_verb_too_new_for_the_version_is_code_1(
    programs: Programs, verb: str, version: str
) -> None:
    outcome = programs.call(verb, GOOD | {"cniVersion": version})

    assert (outcome.status, outcome.document()["code"]) == (1, 1)
    assert "cannot run" in outcome.document()["msg"]


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"CNI_CONTAINERID": ""}, "CNI_CONTAINERID"),
        ({"CNI_CONTAINERID": "../x"}, "CNI_CONTAINERID"),
        ({"CNI_IFNAME": "a/b"}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "\udcff"}, "CNI_IFNAME"),
        ({"CNI_NETNS": ""}, "CNI_NETNS"),
        ({"CNI_COMMAND": "UPDATE"}, "CNI_COMMAND"),
        ({"CNI_ARGS": "X=1"}, "CNI_ARGS"),
    ],
    ids=repr,
)
def test_a_bad_variable_is_code_4_and_named(
    programs: Programs, environ: dict[str, str], named: str
) -> None:
    outcome = programs.call("ADD", GOOD, environ=environ)

    assert (outcome.status, outcome.document()["code"]) == (1, 4)
    assert named in outcome.document()["msg"]


def test_a_namespace_that_is_not_there_is_refused_by_name(programs: Programs) -> None:
    error = programs.call("ADD", GOOD).document()

    assert error["code"] == 4
    assert "/nowhere/netns" in error["msg"]
    assert "/run/netns/" in error["details"]


@pytest.mark.parametrize("program", ["host-local", "static"])
def test_an_ipam_program_wants_its_section(programs: Programs, program: str) -> None:
    outcome = programs.call("ADD", GOOD, program=program)
    error = outcome.document()

    assert (outcome.status, error["code"]) == (1, 7)
    assert error["details"].startswith("at /ipam; ")


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, 3 << 20])
def test_more_than_a_mebibyte_of_input_is_an_io_failure(programs: Programs, size: int) -> None:
    stdin = json.dumps(GOOD | {"vlan": 4095}).encode().ljust(size)
    error = programs.call("ADD", stdin).document()

    assert error["code"] == (7 if size == 1 << 20 else 5)


def test_a_name_we_do_not_answer_to_is_refused(programs: Programs, tmp_path: Path) -> None:
    shutil.copy(programs.directory / "bridge", tmp_path / "macvlan")
    done = subprocess.run(
        [tmp_path / "macvlan"],
        env=programs.environ("ADD"),
        input=b"{}",
        capture_output=True,
        check=False,
    )
    error = json.loads(done.stdout)

    assert (done.returncode, error["code"]) == (1, 4)
    assert "'macvlan'" in error["msg"]
    assert "bridge, host-local, static" in error["details"]


# ---------------------------------------------------------------- VERSION and about


@pytest.mark.parametrize("asked", SUPPORTED)
def test_version_echoes_the_version_it_was_asked_in(programs: Programs, asked: str) -> None:
    outcome = programs.call("VERSION", {"cniVersion": asked})

    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.document() == {"cniVersion": asked, "supportedVersions": list(SUPPORTED)}


@pytest.mark.parametrize(
    "stdin", [b"", b"{", b"[]", b'{"cniVersion": "0.2.0"}', b'{"cniVersion": 1}'], ids=repr
)
def test_version_answers_the_newest_to_anything_else(programs: Programs, stdin: bytes) -> None:
    outcome = programs.call("VERSION", stdin)

    assert (outcome.status, outcome.document()["cniVersion"]) == (0, "1.1.0")


def test_version_needs_no_other_variable_and_no_end_of_input(programs: Programs) -> None:
    with subprocess.Popen(
        [programs.directory / "bridge"],
        env={"CNI_COMMAND": "VERSION"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        answer = json.loads(process.stdout.read())

    assert answer["supportedVersions"] == list(SUPPORTED)


@pytest.mark.parametrize(("verb", "status", "expected"), [("VERSION", 0, "1.1.0"), ("ADD", 1, 5)])
def test_a_closed_standard_input_is_answered_too(
    programs: Programs, verb: str, status: int, expected: object
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" <&-', programs.directory / "bridge"],
        env=programs.environ(verb),
        capture_output=True,
        check=False,
    )
    answer = json.loads(done.stdout)

    assert (done.returncode, done.stderr) == (status, b"")
    assert expected in {answer["cniVersion"], answer.get("code")}


def test_the_shim_says_by_which_name_it_was_called(programs: Programs) -> None:
    outcome = programs.call("", environ={"SPANBRIDGE_PROGRAM": "dhcp"})

    assert outcome.stderr.startswith("CNI dhcp plugin of Spanbridge ")


def test_a_delegate_does_not_inherit_the_name_that_the_shim_was_called_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPANBRIDGE_PROGRAM", "bridge")
    monkeypatch.delenv("CNI_COMMAND", raising=False)
    program.main()

    assert "SPANBRIDGE_PROGRAM" not in os.environ


@pytest.mark.parametrize("environ", [{}, {"CNI_COMMAND": ""}], ids=["unset", "empty"])
def test_without_a_command_it_says_on_stderr_what_it_is(
    programs: Programs, environ: dict[str, str]
) -> None:
    done = subprocess.run(
        [programs.directory / "bridge"], env=environ, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        f"CNI bridge plugin of Spanbridge {__version__}",
        "CNI protocol versions supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0",
    ]


# ---------------------------------------------------------------- signals


@pytest.fixture
def waiting(
    programs: Programs, request: pytest.FixtureRequest
) -> Iterator[subprocess.Popen[bytes]]:
    """A call of the verb in ``request.param`` that waits for its input, signals set up."""
    with subprocess.Popen(
        [programs.directory / "bridge"],
        env=programs.environ(request.param),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        deadline = time.monotonic() + 10
        while not _handles(process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield process
        process.kill()


def _handles(pid: int) -> bool:
    """Tell from the kernel's bit masks whether signals no longer kill the process."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    mask = int(status["SigCgt"], 16) | int(status["SigIgn"], 16)
    return all(mask >> (number - 1) & 1 for number in (signal.SIGTERM, signal.SIGHUP))


@pytest.mark.parametrize("waiting", ["ADD", "CHECK", "STATUS"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_call_with_try_again_later(
    waiting: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    waiting.send_signal(number)
    stdout, stderr = waiting.communicate(timeout=10)
    error = json.loads(stdout)

    assert (waiting.returncode, error["code"], stderr) == (1, 11, b"")
    assert number.name in error["msg"]


@pytest.mark.parametrize("waiting", ["DEL", "GC"], indirect=True)
def test_a_signal_does_not_stop_a_release(waiting: subprocess.Popen[bytes]) -> None:
    waiting.send_signal(signal.SIGTERM)
    stdout, _ = waiting.communicate(b"{}", timeout=10)

    assert json.loads(stdout)["code"] == 1


def test_a_second_signal_does_not_interrupt_the_undoing(monkeypatch: pytest.MonkeyPatch) -> None:
    actions: dict[int, object] = {}
    monkeypatch.setattr(signal, "signal", actions.__setitem__)

    with pytest.raises(program.InterruptedCallError, match="SIGHUP"):
        program._interrupt(signal.SIGHUP, None)
    assert actions == dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), signal.SIG_IGN)
