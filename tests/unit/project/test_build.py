# SPDX-License-Identifier: Apache-2.0
"""The build of the package: what it makes of the shim, with and without a compiler."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spanbridge import __version__

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the build reads: it leaves files beside the source."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, tmp_path)
    shutil.copytree(PROJECT / "shim", tmp_path / "shim")
    shutil.copytree(
        PROJECT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.egg-info", "shim")
    )
    return tmp_path


def build(tree: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "-q", *words],
        cwd=tree,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_shim_is_built_beside_the_modules(tree: Path) -> None:
    done = build(tree, "build")
    shim = tree / "build/lib/spanbridge/cni/shim"
    about = subprocess.run([shim], env={}, capture_output=True, text=True, check=True)

    assert done.returncode == 0
    assert f"of Spanbridge {__version__}, shim" in about.stderr
    assert (shim.parent / "install.py").exists()


@pytest.mark.parametrize("broken", ["no compiler", "failing compiler"])
def test_without_a_shim_the_package_is_built_all_the_same(tree: Path, broken: str) -> None:
    environ = {"PATH": "/nowhere"} if broken == "no compiler" else {"CC": "/bin/false"}
    done = build(tree, "build", **environ)

    assert done.returncode == 0
    assert "the shim is not built" in done.stderr
    assert (tree / "build/lib/spanbridge/cni/install.py").exists()
    assert not (tree / "build/lib/spanbridge/cni/shim").exists()


def test_a_wheel_holds_the_shim_and_names_the_machine(tree: Path) -> None:
    assert build(tree, "bdist_wheel").returncode == 0
    (wheel,) = (tree / "dist").glob("*.whl")
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True
    )

    assert "spanbridge/cni/shim " in listing.stdout
    assert wheel.name.endswith(f"-py3-none-linux_{os.uname().machine}.whl")
