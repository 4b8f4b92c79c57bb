# SPDX-License-Identifier: Apache-2.0
"""Executing other IPAM plugins: small shell programs stand in for them."""

import errno
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spanbridge.base.errors import Code, DelegateError, NotReadyError, RetryError
from spanbridge.ipam import Ipam, IpamPlace, Releaser, delegate
from spanbridge.model.result import render_result

SECTION = {"type": "their-ipam"}
RESULT = {"cniVersion": "1.1.0", "ips": [{"address": "192.0.2.5/24", "gateway": "192.0.2.1"}]}

Opened = Callable[..., Ipam]
Install = Callable[..., dict[str, str]]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Put a shell program in CNI_PATH and return the request that finds it."""

    def make(script: str, *, mode: int = 0o755, verb: str = "ADD") -> dict[str, str]:
        program = tmp_path / "bin" / "their-ipam"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(mode)
        path = f"{tmp_path}/empty:{program.parent}"
        return {"path": path, "verb": verb, "CNI_IFNAME": "eth0", "CNI_COMMAND": "OTHER"}

    return make


def _answering(document: object) -> str:
    return f"cat > /dev/null; cat <<'END'\n{json.dumps(document)}\nEND"


def test_addresses_routes_and_dns_come_from_the_program(opened: Opened, install: Install) -> None:
    document = RESULT | {"routes": [{"dst": "0.0.0.0/0"}], "dns": {"domain": "a.example"}}
    result = opened(SECTION, install(_answering(document))).add()
    assert render_result(result, "1.1.0") == document


def test_the_program_gets_the_exact_bytes_and_the_verb(
    opened: Opened, install: Install, document: Callable[..., object], tmp_path: Path
) -> None:
    script = f"cat > {tmp_path}/stdin; env > {tmp_path}/env; echo '{json.dumps(RESULT)}'"
    opened(SECTION, install(script)).add()
    assert (tmp_path / "stdin").read_text() == json.dumps(document(SECTION))
    lines = (tmp_path / "env").read_text().splitlines()
    assert {"CNI_COMMAND=ADD", "CNI_IFNAME=eth0"} <= set(lines)


def test_a_result_without_version_is_taken_in_the_one_asked_for(
    opened: Opened, install: Install
) -> None:
    result = opened(SECTION, install(_answering({"ips": RESULT["ips"]}))).add()
    assert str(result.ips[0].address) == "192.0.2.5/24"


def test_a_result_of_an_older_version_is_understood(opened: Opened, install: Install) -> None:
    older = {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "192.0.2.5/24"}], "dns": {}}
    assert str(opened(SECTION, install(_answering(older))).add().ips[0].address) == "192.0.2.5/24"


def test_interfaces_of_the_program_are_dropped(opened: Opened, install: Install) -> None:
    ips = [{"address": "192.0.2.5/24", "interface": 3}]
    result = opened(SECTION, install(_answering({"ips": ips, "interfaces": [{}]}))).add()
    assert (result.interfaces, result.ips[0].interface) == ((), None)


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (_answering({"cniVersion": "0.2.0", "ip4": {"ip": "192.0.2.5/24"}}), "CNI 0.2"),
        (_answering({"cniVersion": "9.9.9"}), "9.9.9 is not spoken"),
        (_answering({"ips": [{"address": "x"}]}), "at /ips/0/address"),
        (_answering([]), "it is a list"),
        ("echo nonsense", "cannot decode"),
        ("true", "it is empty"),
    ],
    ids=["0.2", "version", "address", "list", "nonsense", "nothing"],
)
def test_what_is_no_result_is_the_programs_fault(
    opened: Opened, install: Install, script: str, cause: str
) -> None:
    with pytest.raises(DelegateError, match=cause):
        opened(SECTION, install(script)).add()


def test_an_error_object_keeps_code_message_and_details(opened: Opened, install: Install) -> None:
    error = {"code": 11, "msg": "pool is locked", "details": "wait a little"}
    with pytest.raises(DelegateError, match="their-ipam': pool is locked") as caught:
        opened(SECTION, install(_answering(error) + "\nexit 1")).add()
    assert (caught.value.delegate_code, caught.value.hint) == (11, "wait a little")


def test_a_failure_on_stderr_only_is_quoted(opened: Opened, install: Install) -> None:
    with pytest.raises(DelegateError, match="exit status 3: no lease to be had") as caught:
        opened(SECTION, install("echo no lease to be had >&2; exit 3")).add()
    assert caught.value.delegate_code == 0


def test_a_long_stderr_is_cut_to_its_end(opened: Opened, install: Install) -> None:
    script = "head -c 100000 /dev/zero | tr '\\0' x >&2; echo the cause >&2; exit 3"
    with pytest.raises(DelegateError, match="the cause") as caught:
        opened(SECTION, install(script)).add()
    assert len(caught.value.message) < 2 * delegate.STDERR_SHOWN


def test_a_silent_failure_says_so(opened: Opened, install: Install) -> None:
    with pytest.raises(DelegateError, match="exit status 3: it said nothing"):
        opened(SECTION, install("exit 3")).add()


def test_stderr_of_a_program_that_succeeded_is_passed_on(
    opened: Opened, install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    opened(SECTION, install("echo by the way >&2;" + _answering(RESULT))).add()
    assert capfd.readouterr() == ("", "by the way\n")


def test_a_missing_program_is_reported_before_anything_is_done(
    opened: Opened, tmp_path: Path
) -> None:
    with pytest.raises(DelegateError, match=f"no such program in {tmp_path}/a, {tmp_path}/b"):
        opened(SECTION, {"path": f"{tmp_path}/a:{tmp_path}/b"})


def test_a_program_that_may_not_be_executed_is_no_program(opened: Opened, install: Install) -> None:
    with pytest.raises(DelegateError, match="no such program"):
        opened(SECTION, install("true", mode=0o644))


def test_a_directory_of_that_name_is_no_program(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "their-ipam").mkdir()
    with pytest.raises(DelegateError, match="no such program"):
        opened(SECTION, {"path": str(tmp_path)})


def test_a_program_of_another_machine_cannot_be_run(opened: Opened, install: Install) -> None:
    request = install("")
    Path(request["path"].split(":")[1], "their-ipam").write_bytes(b"\x7fELFnonsense")
    with pytest.raises(DelegateError, match="cannot run IPAM plugin"):
        opened(SECTION, request).add()


def test_a_program_that_hangs_is_killed_with_its_children(
    opened: Opened, install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(delegate, "TIMEOUTS_S", {"ADD": 0.3})
    script = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    with pytest.raises(DelegateError, match="ADD did not end"):
        opened(SECTION, install(script)).add()
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    """Tell whether a process is more than a zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _busy(times: int) -> Callable[..., object]:
    real = subprocess.Popen
    left = [times]

    def start(*args: object, **kwargs: object) -> object:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ETXTBSY, os.strerror(errno.ETXTBSY))
        return real(*args, **kwargs)  # type: ignore[call-overload] # handed through unchanged

    return start


def test_a_program_that_is_being_replaced_is_tried_again(
    opened: Opened, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegate, "BUSY_PAUSE_S", 0)
    monkeypatch.setattr(subprocess, "Popen", _busy(3))
    assert opened(SECTION, install(_answering(RESULT))).add().ips


def test_a_program_that_stays_busy_is_an_error(
    opened: Opened, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegate, "BUSY_PAUSE_S", 0)
    monkeypatch.setattr(subprocess, "Popen", _busy(delegate.BUSY_ATTEMPTS))
    with pytest.raises(DelegateError, match="Text file busy"):
        opened(SECTION, install(_answering(RESULT))).add()


def _give_up_when(ipam: object, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipam, "_place", IpamPlace(cancelled=path.exists))


def test_an_add_whose_caller_gives_up_ends_with_its_program(
    opened: Opened, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ipam = opened(SECTION, install(f"echo $$ > {tmp_path}/pid; sleep 60; {_answering(RESULT)}"))
    _give_up_when(ipam, tmp_path / "pid", monkeypatch)
    with pytest.raises(RetryError, match="the caller has given up"):
        ipam.add()
    pid = (tmp_path / "pid").read_text().strip()
    assert not Path(f"/proc/{pid}").exists()


def test_a_slow_program_is_waited_for_and_gets_its_input_once(
    opened: Opened, install: Install, document: Callable[..., object], tmp_path: Path
) -> None:
    pause = 3 * delegate.POLL_S
    script = f"sleep {pause}; cat > {tmp_path}/stdin; sleep {pause}; echo '{json.dumps(RESULT)}'"
    assert opened(SECTION, install(script)).add().ips
    assert (tmp_path / "stdin").read_text() == json.dumps(document(SECTION))


def test_a_release_is_finished_although_its_caller_gives_up(
    opened: Opened, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"touch {tmp_path}/begun; sleep {3 * delegate.POLL_S}; touch {tmp_path}/ended"
    ipam = opened(SECTION, install(script, verb="DEL"))
    _give_up_when(ipam, tmp_path / "begun", monkeypatch)
    ipam.release()
    assert (tmp_path / "ended").exists()


def _recording(tmp_path: Path) -> str:
    return f"echo $CNI_COMMAND >> {tmp_path}/verbs"


VERBS = {
    "0.3.1": ["DEL"],
    "0.4.0": ["CHECK", "DEL"],
    "1.0.0": ["CHECK", "DEL"],
    "1.1.0": ["CHECK", "DEL", "GC", "STATUS"],
}


@pytest.mark.parametrize("version", VERBS)
def test_only_verbs_of_the_version_are_forwarded(
    opened: Opened, install: Install, tmp_path: Path, version: str
) -> None:
    ipam = opened(SECTION, install(_recording(tmp_path), verb="CHECK"), cniVersion=version)
    ipam.check(None)
    ipam.release()
    ipam.collect(frozenset())
    ipam.status()
    assert (tmp_path / "verbs").read_text().split() == VERBS[version]


def test_a_failed_release_is_reported(releaser: Callable[..., Releaser], install: Install) -> None:
    error = {"code": 999, "msg": "store is gone"}
    request = install(_answering(error) + "\nexit 1", verb="DEL")
    with pytest.raises(DelegateError, match="store is gone"):
        releaser(SECTION, request).release()


def test_status_of_a_missing_program_is_not_ready(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="no such program") as caught:
        opened(SECTION, {"verb": "STATUS", "path": str(tmp_path)}).status()
    assert caught.value.code == Code.NOT_AVAILABLE


@pytest.mark.parametrize(("answered", "code"), [(999, 50), (50, 50), (51, 51)])
def test_status_of_the_program_is_passed_on(
    opened: Opened, install: Install, answered: int, code: int
) -> None:
    script = _answering({"code": answered, "msg": "no daemon"}) + "\nexit 1"
    with pytest.raises(NotReadyError, match="no daemon") as caught:
        opened(SECTION, install(script, verb="STATUS")).status()
    assert caught.value.code == code


def test_the_preview_says_who_decides_and_runs_nothing(opened: Opened) -> None:
    preview = opened(SECTION, {"verb": "STATUS"}).preview()
    assert "the program their-ipam from CNI_PATH" in preview.words[0]
    assert preview.example is None
