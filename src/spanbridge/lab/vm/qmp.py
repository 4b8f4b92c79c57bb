# SPDX-License-Identifier: Apache-2.0
"""QEMU's monitor protocol through its own library, with our errors."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spanbridge.base.errors import NodeError

if TYPE_CHECKING:
    from qemu.qmp import EventListener, QMPClient

ANSWER_S: Final = 60.0
"""Time for an answer: QEMU is busy with a migration, and the machine with other things."""

_POLL_S: Final = 0.05


class GoneError(NodeError):
    """QEMU, or the way to it, ended before it answered."""


@contextlib.asynccontextmanager
async def connected(path: Path, name: str, *, timeout_s: float) -> AsyncIterator["QMPClient"]:
    """
    Speak with the QEMU that listens at a unix socket, or will in a moment.

    Args:
        path: Of the socket; it serves one client at a time.
        name: For messages.
        timeout_s: Until it has greeted us.

    Raises:
        NodeError: The library is not installed.
        GoneError: Nobody answers.
    """
    try:
        from qemu.qmp import ConnectError, QMPClient
    except ImportError as error:
        raise NodeError(
            "cannot speak with QEMU: there is no Python package qemu.qmp",
            hint="pip install 'spanbridge[lab]'",
        ) from error
    # It logs every connection that ends; what that means is ours to say.
    logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
    logging.getLogger("qemu.qmp").propagate = False
    client = QMPClient(name)
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                await client.connect(str(path))
            break
        except ConnectError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise GoneError(f"cannot speak with {name}: {error}") from error
            await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise GoneError(f"cannot speak with {name}: no greeting in {timeout_s:.0f} s") from None
    try:
        yield client
    finally:
        # The other side may have ended first, in whatever way.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(ANSWER_S):
                await client.disconnect()


async def ask(client: "QMPClient", command: str, **arguments: object) -> dict[str, Any]:
    """
    Have QEMU do something; keywords are the command's arguments, with _ for -.

    Raises:
        NodeError: It refused; its own words are passed on.
        GoneError: It ended.
    """
    from qemu.qmp import ExecInterruptedError, ExecuteError, StateError

    given = {key.replace("_", "-"): value for key, value in arguments.items()}
    try:
        async with asyncio.timeout(ANSWER_S):
            answer = await client.execute(command, given or None)
    except ExecuteError as error:
        raise NodeError(f"cannot have {client.name} do {command}: {error}") from error
    except (ExecInterruptedError, StateError, EOFError, OSError) as error:
        raise GoneError(f"cannot have {client.name} do {command}: it ended") from error
    except TimeoutError:
        raise GoneError(
            f"cannot have {client.name} do {command}: no answer in {ANSWER_S:.0f} s"
        ) from None
    return answer if isinstance(answer, dict) else {}


async def set_capabilities(client: "QMPClient", chosen: Mapping[str, bool]) -> None:
    """Switch capabilities of migrations on or off."""
    listed = [{"capability": name, "state": state} for name, state in chosen.items()]
    await ask(client, "migrate-set-capabilities", capabilities=listed)


async def state_of(client: "QMPClient") -> str:
    """Tell the state of the guest: ``running``, ``paused``, ``inmigrate``, ``postmigrate``."""
    return str((await ask(client, "query-status")).get("status"))


def seconds(event: Mapping[str, Any]) -> float:
    """Tell when an event happened, in seconds since 1970, by QEMU's own clock."""
    stamp = event["timestamp"]
    return float(stamp["seconds"]) + float(stamp["microseconds"]) / 1e6


def taken(listener: "EventListener") -> list[dict[str, Any]]:
    """Take the events that have come so far."""
    return [dict(event) for event in listener.clear()]
