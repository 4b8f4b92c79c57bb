# SPDX-License-Identifier: Apache-2.0
"""`spanbridge lint` and `spanbridge rule` as they are typed."""

import io
import json
import sys
from pathlib import Path

import pytest

from spanbridge.cli.program import main
from spanbridge.stretch.lint import RULES, find_rule
from spanbridge.stretch.lint.examples import unmarked

GOOD = '{"cniVersion": "1.0.0", "name": "lan", "type": "bridge", "bridge": "br-lan"}\n'
NOTE = GOOD.replace('"br-lan"', '"br-lan", "vlan": 7')
BAD = GOOD.replace('"br-lan"', '"br-lan", "mtu": 5')


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "arguments", "code"),
    [
        (GOOD, (), 0),
        (NOTE, (), 0),
        (NOTE, ("--fail-on", "note"), 1),
        (BAD, (), 1),
        (BAD, ("--ignore", "SB023"), 0),
        (BAD, ("--select", "SB0"), 1),
        (BAD, ("--select", "mistyped-key"), 0),
        (BAD, ("--select", "nonsense"), 2),
    ],
)
def test_the_exit_code_says_how_bad_it_is(
    here: Path, text: str, arguments: tuple[str, ...], code: int
) -> None:
    write(here, {"net.conf": text})

    assert main(["lint", *arguments, "net.conf"]) == code


@pytest.mark.parametrize("arguments", [["lint"], ["lint", "missing.conf"], ["rule", "SB999"]])
def test_wrong_usage_ends_with_two(here: Path, arguments: list[str]) -> None:
    assert here.is_dir()
    assert main(arguments) == 2


def test_findings_are_shown_with_their_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, {"net.conf": BAD})
    main(["lint", "net.conf"])
    output = capsys.readouterr().out

    assert output.startswith("net.conf:1:85: error SB023")
    assert output.endswith("\n1 error\n")


def test_standard_input_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(BAD))

    assert main(["lint", "-"]) == 1
    assert capsys.readouterr().out.startswith("-:1:85: error SB023")


@pytest.mark.parametrize(
    ("output_format", "begin"), [("json", "{"), ("sarif", "{"), ("github", "::error ")]
)
def test_machines_get_their_own_forms(
    here: Path, capsys: pytest.CaptureFixture[str], output_format: str, begin: str
) -> None:
    write(here, {"net.conf": BAD})
    assert main(["lint", "--format", output_format, "net.conf"]) == 1
    output = capsys.readouterr().out

    assert output.startswith(begin)
    if begin == "{":
        assert "SB023" in json.dumps(json.loads(output))


def test_a_diff_is_shown_and_nothing_is_changed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here, {"net.conf": NOTE})

    assert main(["lint", "--diff", "net.conf"]) == 1
    assert '+{"cniVersion": "1.0.0"' in capsys.readouterr().out
    assert (here / "net.conf").read_text() == NOTE


def test_what_is_safe_is_fixed_and_the_rest_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here, {"a.conf": NOTE, "b.conf": BAD})
    (here / "a.conf").chmod(0o640)

    assert main(["lint", "--fix", "a.conf", "b.conf"]) == 1
    captured = capsys.readouterr()
    assert (here / "a.conf").read_text() == NOTE.replace(
        '"vlan": 7', '"vlan": 7, "preserveDefaultVlan": false'
    )
    assert (here / "a.conf").stat().st_mode & 0o777 == 0o640
    assert captured.err == "changed: a.conf\n"
    assert "SB041" not in captured.out
    assert "b.conf:1:85: error SB023" in captured.out
    assert main(["lint", "--diff", "a.conf"]) == 0


def test_each_directory_of_a_directory_is_a_cluster(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here / "all", unmarked(find_rule("SB110").wrong))
    write(here / "all", {"README.md": "x", "spanbridge.lock.json": "{", "dnsmasq.conf": "a=b\n"})

    assert main(["lint", "all"]) == 1
    assert "cluster east hands out 10.88.0.90-10.88.0.99 too" in capsys.readouterr().out
    assert main(["lint", "all/east", "all/west"]) == 1
    assert main(["lint", "all/east", "--fail-on", "note"]) == 0
    assert main(["lint", *(str(path) for path in Path("all").glob("*/*.yaml"))]) == 1


def test_a_directory_with_manifests_is_one_cluster(here: Path) -> None:
    files = unmarked(find_rule("SB092").wrong)
    write(here / "east", {"nad.yaml": files["nad.yaml"], "nodes/a.yaml": files["policy.yaml"]})

    assert main(["lint", "--select", "SB092", "east"]) == 1


def test_an_empty_directory_is_wrong_usage(here: Path) -> None:
    (here / "empty").mkdir()

    assert main(["lint", "empty"]) == 2


def test_a_rule_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rule", "SB031"]) == 0
    output = capsys.readouterr().out

    assert output.startswith("SB031 gateway-on-every-node (warning")
    assert "Wrong, at net.conf:6:3:" in output


def test_all_rules_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["rule"])
    assert len(capsys.readouterr().out.splitlines()) == len(RULES)
    main(["rule", "--format", "json"])
    assert len(json.loads(capsys.readouterr().out)) == len(RULES)
