# SPDX-License-Identifier: Apache-2.0
"""docs/howto/verify-before-you-migrate.md, block by block, in a lab with a VLAN and DHCP."""

import contextlib
import io
import json
import os
import re
import select
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from spanbridge.cli import main

PROJECT: Final = Path(__file__).parents[3]
# Half of what a quiet machine needs is the start of programs in an emulated guest.
pytestmark = pytest.mark.timeout(900)

PAGE: Final = (PROJECT / "docs/howto/verify-before-you-migrate.md").read_text()


@dataclass(frozen=True, slots=True)
class Page:
    """
    The page, done.

    Attributes:
        directory: Where it was done.
        said: What each section printed, by its heading.
    """

    directory: Path
    said: dict[str, str]

    def load(self, name: str) -> object:
        """Read a JSON file that the page wrote."""
        return json.loads((self.directory / name).read_bytes())


def blocks() -> dict[str, str]:
    """Give the block of each section; every fence is one to run."""
    found = {}
    for heading, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE):
        fences = re.findall(r"^```(\w*)\n(.*?)^```", body, re.DOTALL | re.MULTILINE)
        assert all(kind == "sh" for kind, _ in fences), heading
        if fences:
            ((_, found[heading]),) = fences
    return found


# What the page calls `spanbridge`: hands its words to the test, since in a guest a fresh
# process spends seconds on its imports.
PROGRAM: Final = """\
#!/bin/sh
printf '%s\\0' "$PWD" "$@" >{place}/words
echo >{place}/ask
read code <{place}/done
cat {place}/out
cat {place}/err >&2
exit $code
"""


def _serve(place: Path) -> None:
    """Do what the program was called for."""
    directory, *words = (place / "words").read_text().split("\0")[:-1]
    out, err = io.StringIO(), io.StringIO()
    here = Path.cwd()
    os.chdir(directory)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
    finally:
        os.chdir(here)
    (place / "out").write_text(out.getvalue())
    (place / "err").write_text(err.getvalue())
    (place / "done").write_text(f"{int(code)}\n")


def _run(text: str, directory: Path, place: Path) -> tuple[int, str]:
    """Run a block; its exit code, and what it printed."""
    environ = os.environ | {"PATH": f"{place}:{os.environ['PATH']}"}
    printed = place / "printed"
    # Open for both, so that opening it waits for nobody and it never ends.
    ask = os.open(place / "ask", os.O_RDWR | os.O_NONBLOCK)
    with printed.open("w") as output:
        block = subprocess.Popen(
            ["bash", "-euc", text], cwd=directory, env=environ, stdout=output, stderr=output
        )
        while block.poll() is None:
            if select.select([ask], [], [], 0.05)[0] and os.read(ask, 1):
                _serve(place)
    os.close(ask)
    return block.returncode, printed.read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Do the page; each line of each block has succeeded."""
    directory, place = tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("bin")
    program = place / "spanbridge"
    program.write_text(PROGRAM.format(place=place))
    program.chmod(0o755)
    for name in ("ask", "done"):
        os.mkfifo(place / name)
    said = {}
    try:
        for heading, text in blocks().items():
            code, said[heading] = _run(text, directory, place)
            assert code == 0, f"{heading}: {said[heading]}"
        yield Page(directory, said)
    finally:
        main(["lab", "down"])


def test_a_healthy_lab_is_verified_without_a_finding(page: Page) -> None:
    assert "virtual machines may move: 4 of 4 ordered pairs are good" in page.said["2. Verify"]
    seen = page.load("seen.json")
    assert isinstance(seen, dict)
    assert "strays" not in seen
    assert {probe["dials"][0]["tls"]["result"] for probe in seen["probes"]} == {"ok"}
    assert (page.directory / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert 'failures="0"' in (page.directory / "verify.xml").read_text()


def test_a_replay_of_what_was_seen_finds_nothing_either(
    page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = str(page.directory / "seen.json")
    assert main(["verify", "--replay", seen, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["diagnoses"] == []
    assert main(["verify", "--replay", seen]) == 0
    # What is said of progress may stand before it and after it.
    assert capsys.readouterr().out.strip() in page.said["2. Verify"]


def test_the_fault_is_named_and_gone_when_it_is_mended(page: Page) -> None:
    broken = page.said["3. Something breaks"]
    assert "exit code 1" in broken
    assert "uplink eth1 of west-1 does not carry VLAN 2" in broken
    assert "bridge vlan add vid 2 dev eth1" in broken
    assert "4 of 4 ordered pairs are good" in page.said["4. Mend it"]


def test_a_replay_of_the_fault_gives_the_same_bytes(page: Page) -> None:
    first, second = page.load("first.json"), page.load("second.json")
    assert first == second
    assert isinstance(first, dict)
    assert first["diagnoses"][0]["code"] == "SBV01"
    assert [each["code"] for each in first["diagnoses"]] == ["SBV01"]
