# SPDX-License-Identifier: Apache-2.0
"""The measurements run, and say what they found."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.testing.plugin import run

PROJECT: Final = Path(__file__).parents[3]
PLUGINS: Final = next(
    filter(Path.is_dir, map(Path, ("/usr/lib/cni", "/opt/cni/bin"))), Path("/usr/lib/cni")
)
NETNS_DIR: Final = Path("/run/netns")
FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")
FIGURES: Final = "figures.json"
PICTURE: Final = "picture.png"
PNG: Final = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def quick(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator["subprocess.CompletedProcess[str]"]:
    """One small run; its files are in the working directory that it tells of."""
    place = tmp_path_factory.mktemp("bench")
    forwarding = FORWARDING.read_text()
    argv = [sys.executable, "-m", "bench", "--quick", "--json", str(place / FIGURES)]
    yield subprocess.run(
        [*argv, "--picture", str(place / PICTURE)],
        cwd=PROJECT,
        env=os.environ | {"REFERENCE_CNI": str(PLUGINS)},
        capture_output=True,
        text=True,
        check=True,
    )
    # It removes bridges itself, so the rules of their gateways wait for a DEL that never comes.
    run("nft", "flush", "ruleset")
    # And a gateway that is gone leaves forwarding on.
    FORWARDING.write_text(forwarding)


def written(quick: "subprocess.CompletedProcess[str]", name: str) -> Path:
    return next(Path(word) for word in quick.args if word.endswith(name))


@pytest.mark.timeout(180)
def test_figures_of_everybody_are_written(quick: "subprocess.CompletedProcess[str]") -> None:
    figures: dict[str, Any] = json.loads(written(quick, FIGURES).read_text())
    cases = {each["key"]: each for each in figures["cases"]}

    for key in ("add", "del", "add-masq", "del-masq", "adds", "dels"):
        measured = {name for name, spread in cases[key]["ms"].items() if spread is not None}
        assert {"ours", "floor", next(iter(figures["references"]))} <= measured
        assert cases[key]["figure"] == pytest.approx(cases[key]["ratio"]["median"], abs=1e-3)
    assert cases["rss"]["figure"] > 1


@pytest.mark.timeout(180)
def test_a_table_and_a_picture_show_them(quick: "subprocess.CompletedProcess[str]") -> None:
    assert "DEL, with ipMasq" in quick.stdout
    assert written(quick, PICTURE).read_bytes().startswith(PNG)


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("quick")
def test_nothing_is_left_of_it() -> None:
    assert [each["ifname"] for each in json.loads(run("ip", "-j", "link"))] == ["lo"]
    assert not any(path.name.startswith(("pod", "bare")) for path in NETNS_DIR.iterdir())
