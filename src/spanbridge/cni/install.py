# SPDX-License-Identifier: Apache-2.0
"""Putting the programs where a container runtime looks for CNI plugins."""

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Final

import spanbridge
from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.cni.program import PROGRAMS
from spanbridge.model.node_state import ProgramState

MARK: Final = "Made by: spanbridge cni install"
"""By this a program of ours is known again."""

SHIM_MARK: Final = f"{MARK}; one-shot: ".encode()
"""In the shim: here begins the field that ends with the path of the one-shot program."""

SHIM_FIELD_BYTES: Final = 1024
"""The field's length; ``oneshot_path`` in shim/shim.c."""

ONESHOT: Final = ".spanbridge-oneshot"
"""What the one-shot program is called where the shim has the programs' names."""

BACKUP_SUFFIX: Final = ".before-spanbridge"

SHEBANG_MAX_BYTES: Final = 250
"""The kernel reads 256 bytes. Source: linux/binfmts.h, BINPRM_BUF_SIZE."""


def _script(python: Path) -> str:
    # -I -S leave out user directories and site-packages: a start costs a quarter of it.
    places = [str(Path(spanbridge.__file__).parents[1]), sysconfig.get_paths()["purelib"]]
    body = (
        f"# {MARK}\n"
        "import sys\n"
        f"sys.path[:0] = {places!r}\n"
        "from spanbridge.cni.program import main\n"
        "sys.exit(main())\n"
    )
    shebang = f"#!{python} -IS\n"
    if " " in str(python) or len(shebang.encode()) > SHEBANG_MAX_BYTES:
        # A shell reads the first lines, Python takes them for a string.
        shebang = f"#!/bin/sh\n'''exec' {shlex.quote(str(python))} -IS \"$0\" \"$@\"\n' '''\n"
    return shebang + body


def _is_ours(path: Path) -> bool:
    return MARK.encode() in path.read_bytes()


def built_shim() -> Path | None:
    """Find the shim that the build of this package made; None where it made none."""
    path = Path(__file__).with_name("shim")
    return path if path.exists() else None


def inspect_program(path: Path) -> ProgramState:
    """Tell what a file under a program's name is; an unreadable one counts as missing."""
    try:
        content = path.read_bytes()
    except OSError:
        return ProgramState(str(path), "missing")
    if content.count(SHIM_MARK) == 1:
        oneshot = _oneshot_of(content)
        there = bool(oneshot) and os.access(oneshot, os.X_OK)
        current = _is_current(content)
        return ProgramState(
            str(path), "shim", current=current, oneshot=oneshot, oneshot_there=there
        )
    return ProgramState(str(path), "oneshot" if MARK.encode() in content else "foreign")


def _oneshot_of(shim: bytes) -> str:
    start = shim.index(SHIM_MARK) + len(SHIM_MARK)
    return os.fsdecode(shim[start : start + SHIM_FIELD_BYTES].partition(b"\0")[0])


def _is_current(shim: bytes) -> bool:
    """Tell whether this package would install the same; True where it has no shim."""
    built = built_shim()
    return built is None or render_shim(built.read_bytes(), "") == render_shim(shim, "")


def render_shim(binary: bytes, oneshot: str) -> bytes:
    """
    Write into a shim where the one-shot program is.

    Args:
        binary: The shim as it was built, or as it was installed.
        oneshot: An absolute path; empty where there shall be none.

    Raises:
        NodeError: ``binary`` is no shim of ours, or the path is too long.
    """
    if binary.count(SHIM_MARK) != 1:
        raise NodeError(
            f"cannot install the shim: {binary.count(SHIM_MARK)} places for the one-shot program",
            hint="build the package again, or use --no-shim",
        )
    field = SHIM_MARK + os.fsencode(oneshot)
    if len(field) >= SHIM_FIELD_BYTES:
        raise NodeError(
            f"cannot install the shim: the path {oneshot[:40]}… is too long",
            hint=f"at most {SHIM_FIELD_BYTES - len(SHIM_MARK) - 1} bytes",
        )
    start = binary.index(SHIM_MARK)
    padded = field.ljust(SHIM_FIELD_BYTES, b"\0")
    return binary[:start] + padded + binary[start + SHIM_FIELD_BYTES :]


def _place(path: Path, content: bytes) -> None:
    if path.exists() and not _is_ours(path):
        # A copy: a runtime finds a program at every moment, also if writing fails.
        shutil.copy2(path, path.with_name(path.name + BACKUP_SUFFIX))
    write_atomic(path, content, mode=0o755)
    path.chmod(0o755)


def _place_all(bin_dir: Path, script: bytes | None, shim: Path | None) -> tuple[Path, ...]:
    oneshot = bin_dir / ONESHOT
    content = script
    if shim is not None:
        named = "" if script is None else str(oneshot.absolute())
        content = render_shim(shim.read_bytes(), named)
    if content is None:
        raise NodeError(
            f"cannot install into {bin_dir}: neither shim nor one-shot program is wanted",
            hint="build the package where there is a C compiler, or leave out --no-oneshot",
        )
    bin_dir.mkdir(parents=True, exist_ok=True)
    if shim is not None and script is not None:
        _place(oneshot, script)  # first: no shim may name a program that is not there yet
    written = tuple(bin_dir / name for name in PROGRAMS)
    for path in written:
        _place(path, content)
    if oneshot.exists() and (shim is None or script is None):
        oneshot.unlink()  # of an earlier installation; nothing names it any more
    return written


def install(
    bin_dir: Path, *, python: Path | None = None, shim: Path | None = None, oneshot: bool = True
) -> tuple[Path, ...]:
    """
    Put every program into ``bin_dir``, which is made when missing.

    A program of somebody else under such a name is kept beside it, once, with the
    suffix ``.before-spanbridge``.

    Args:
        bin_dir: Where the runtime looks, for example ``/opt/cni/bin``.
        python: The interpreter to run the one-shot program with; ours when omitted.
        shim: What ``built_shim`` found: it is put under the programs' names, and the
            one-shot program beside it. When omitted, the one-shot program itself has
            the names, and no agent is ever asked.
        oneshot: Whether calls are served without an agent.

    Returns:
        The programs, in the order of ``PROGRAMS``.

    Raises:
        NodeError: ``bin_dir`` cannot be written, the shim is no shim of ours, or there
            is nothing to install.
    """
    script = _script(python or Path(sys.executable)).encode() if oneshot else None
    try:
        return _place_all(bin_dir, script, shim)
    except OSError as exc:
        raise NodeError(
            f"cannot install into {bin_dir}: {exc.strerror}", hint="name a directory you may write"
        ) from exc
