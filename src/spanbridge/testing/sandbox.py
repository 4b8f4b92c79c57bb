# SPDX-License-Identifier: Apache-2.0
"""
A private place to run tests in: own network, own mounts, root in it, nothing of the machine's.

Without privileges the place is a user namespace in which the caller is root. `/run` and
`/var/lib` are empty there, so named namespaces, sockets and state of the machine are
neither seen nor touched.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_MARK: Final = "SPANBRIDGE_SANDBOX"
"""Holds the inode of the network namespace that was entered: a copied value proves nothing."""

_HIDDEN: Final = ("/run", "/var/lib")

_PREPARE: Final = """\
set -e
mount -t tmpfs -o mode=0755 run /run
mount -t tmpfs -o mode=0755 state /var/lib
mkdir -p /run/netns /run/lock /run/tmp /var/lib/cni
ip link set lo up
{mark}=$(stat -L -c %i /proc/self/ns/net) exec "$@"
"""


def inside() -> bool:
    """Tell whether this process already runs in a sandbox of ours."""
    return os.environ.get(_MARK) == str(Path("/proc/self/ns/net").stat().st_ino)


def render_command(argv: Sequence[str], *, root: bool) -> list[str]:
    """The command that runs ``argv`` in a new sandbox; ``root``: the caller is root already."""
    user = [] if root else ["--user", "--map-root-user"]
    script = _PREPARE.format(mark=_MARK)
    return [
        *("unshare", *user, "--net", "--mount", "--propagation", "private"),
        *("sh", "-c", script, "sandbox", *argv),
    ]


def render_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment to enter with: state and sockets of ours inside, system programs on PATH."""
    return dict(environ) | {
        "PATH": f"{environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin",
        # Ours: we are another user here than outside, whom /tmp may hold files of.
        "TMPDIR": "/run/tmp",
        "SPANBRIDGE_STATE": "/var/lib/spanbridge",
        "SPANBRIDGE_RUN": "/run/spanbridge",
    }


def missing(*, needed: Sequence[Path] = ()) -> str | None:
    """
    Why there can be no sandbox here, in words; None when there can.

    Args:
        needed: Paths that must stay visible in it.
    """
    if shutil.which("unshare") is None:
        return "the program unshare (Debian: util-linux) is missing"
    for path in needed:
        for hidden in _HIDDEN:
            if path.resolve().is_relative_to(hidden):
                return f"{path} lies under {hidden}, which a sandbox empties; move it elsewhere"
    return None


def enter(argv: Sequence[str]) -> None:
    """Replace this process by a command in a new sandbox."""
    command = render_command(argv, root=os.geteuid() == 0)
    os.execvpe(command[0], command, render_environment(os.environ))  # noqa: S606  # no shell wanted
