# SPDX-License-Identifier: Apache-2.0
"""Putting the programs where a container runtime looks for CNI plugins."""

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

MARK: Final = "Made by: spanbridge cni install"
"""By this a program of ours is known again."""

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
    return MARK.encode() in path.read_bytes()[:4096]


def install(bin_dir: Path, *, python: Path | None = None) -> tuple[Path, ...]:
    """
    Write every program into ``bin_dir``, which is made when missing.

    A program of somebody else under such a name is kept beside it, once, with the
    suffix ``.before-spanbridge``.

    Args:
        bin_dir: Where the runtime looks, for example ``/opt/cni/bin``.
        python: The interpreter to run them with; ours when omitted.

    Returns:
        The programs, in the order of ``PROGRAMS``.

    Raises:
        NodeError: ``bin_dir`` cannot be written.
    """
    script = _script(python or Path(sys.executable)).encode()
    written = []
    try:
        bin_dir.mkdir(parents=True, exist_ok=True)
        for name in PROGRAMS:
            path = bin_dir / name
            if path.exists() and not _is_ours(path):
                # A copy: a runtime finds a program at every moment, also if writing fails.
                shutil.copy2(path, path.with_name(name + BACKUP_SUFFIX))
            write_atomic(path, script, mode=0o755)
            path.chmod(0o755)
            written.append(path)
    except OSError as exc:
        raise NodeError(
            f"cannot install into {bin_dir}: {exc.strerror}", hint="name a directory you may write"
        ) from exc
    return tuple(written)
