# SPDX-License-Identifier: Apache-2.0
"""The measurements run, and say what they found."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.testing.plugin import run

PROJECT: Final = Path(__file__).parents[3]
PLUGINS: Final = next(
    filter(Path.is_dir, map(Path, ("/usr/lib/cni", "/opt/cni/bin"))), Path("/usr/lib/cni")
)
NETNS_DIR: Final = Path("/run/netns")
PNG: Final = b"\x89PNG\r\n"


def bench(place: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    found = place / "figures.json", place / "picture.png"
    argv = [sys.executable, "-m", "bench", "--json", str(found[0]), "--picture", str(found[1])]
    return subprocess.run(
        [*argv, *options],
        cwd=PROJECT,
        env=os.environ | {"REFERENCE_CNI": str(PLUGINS)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(120)
def test_a_quick_bench_writes_figures_of_everybody_and_a_picture(tmp_path: Path) -> None:
    done = bench(tmp_path, "--quick")

    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads((tmp_path / "figures.json").read_text())
    cases = {each["key"]: each for each in figures["cases"]}
    for key in ("add", "del", "add-masq", "del-masq", "adds", "dels"):
        measured = {name for name, spread in cases[key]["ms"].items() if spread is not None}
        assert {"ours", "floor", next(iter(figures["references"]))} <= measured
        assert cases[key]["figure"] == pytest.approx(cases[key]["ratio"]["median"], abs=1e-3)
    assert cases["rss"]["figure"] > 1
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)
    assert "DEL, with ipMasq" in done.stdout


@pytest.mark.timeout(120)
def test_a_quick_bench_leaves_nothing_in_the_namespace(tmp_path: Path) -> None:
    bench(tmp_path, "--quick")

    assert [each["ifname"] for each in json.loads(run("ip", "-j", "link"))] == ["lo"]
    assert not any(path.name.startswith(("pod", "bare")) for path in NETNS_DIR.iterdir())
