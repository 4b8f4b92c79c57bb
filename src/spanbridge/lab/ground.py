# SPDX-License-Identifier: Apache-2.0
"""
Where a lab can run: on this kernel, in a namespace of an ordinary user, in a guest.

A lab that ends with its command can move itself; one that stays up cannot, because
it would end with the guest or with the user's namespace.
"""

import enum
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from spanbridge.base.errors import NodeError
from spanbridge.lab.guest import kernel_lacks_vlans, run_in_guest

MARK: Final = "SPANBRIDGE_LAB_GROUND"
"""Environment variable: we are where a command moved itself to, and do not move again."""

GUEST_TIMEOUT_S: Final = 1800.0

_PASSED_ON: Final = (
    *("TERM", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "SPANBRIDGE_PROGRESS"),
    *("LANG", "LC_ALL", "LC_CTYPE"),
)


class Ground(enum.Enum):
    """Where a command of the lab runs."""

    HERE = "here"
    USER_NAMESPACE = "user namespace"
    GUEST = "guest kernel"


@dataclass(frozen=True, slots=True)
class Choice:
    """A ground, and in words why it is that one."""

    ground: Ground
    reason: str = ""


def observe_ground(environ: Mapping[str, str] = os.environ) -> Choice:
    """Find out where a lab can run that ends with its command."""
    if environ.get(MARK):
        return Choice(Ground.HERE)
    return choose_ground(lacking=kernel_lacks_vlans(), root=os.geteuid() == 0)


def choose_ground(*, lacking: str | None, root: bool) -> Choice:
    """
    Choose by what the kernel lacks and who we are.

    A guest comes first: it needs no root, and there is no help against a lacking kernel.
    """
    if lacking:
        return Choice(Ground.GUEST, f"this kernel ({os.uname().release}) lacks {lacking}")
    if not root:
        return Choice(Ground.USER_NAMESPACE, "you are not root")
    return Choice(Ground.HERE)


def require_ground() -> None:
    """
    Make sure that a lab can stay up here.

    Raises:
        NodeError: Not root, or the kernel lacks VLANs.
    """
    if lacking := kernel_lacks_vlans():
        raise NodeError(
            f"cannot bring a lab up here: this kernel ({os.uname().release}) lacks {lacking}",
            hint="`spanbridge lab demo` does the whole round in a guest kernel",
        )
    require_root()


def require_root() -> None:
    """Raise ``NodeError`` for anybody who may not make network namespaces."""
    if os.geteuid() != 0:
        raise NodeError(
            "cannot use network namespaces: you are not root",
            hint="run it as root; `spanbridge lab demo` needs no root",
        )


def run_elsewhere(
    ground: Ground,
    arguments: Sequence[str],
    env: Mapping[str, str],
    *,
    shared_dirs_rw: Sequence[Path] = (),
) -> int:
    """
    Run the command line ``spanbridge arguments`` on another ground.

    Args:
        ground: A guest, or a user namespace; the latter replaces this process.
        arguments: What follows the program's name.
        env: Added to the environment there.
        shared_dirs_rw: In which what a guest writes is kept.

    Returns:
        The exit code of the command in the guest.
    """
    command = [sys.executable, "-m", "spanbridge.cli", *arguments]
    marked = {**env, MARK: ground.value}
    if ground is Ground.USER_NAMESPACE:
        _become(command, marked)
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return run_in_guest(
        command,
        env=passed_on | marked,
        timeout_s=GUEST_TIMEOUT_S,
        shared_dirs_rw=shared_dirs_rw,
    )


def _become(command: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Replace this process by ``command`` in a user namespace; signals reach it directly."""
    flags = ["--user", "--map-root-user", "--net", "--mount", "--propagation", "private"]
    # Named namespaces need a /run of our own. /proc may stay: /proc/sys/net is the reader's.
    enter = ["sh", "-c", 'mount -t tmpfs run /run && exec "$@"', "sh"]
    os.execvpe("unshare", ["unshare", *flags, *enter, *command], os.environ | dict(env))  # noqa: S606  # no shell is meant
