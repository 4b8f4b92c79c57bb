# SPDX-License-Identifier: Apache-2.0
"""One agent from start to stop: the parts, put together."""

import asyncio
import contextlib
import gc
import os
import random
import resource
import signal
from collections.abc import AsyncIterator
from typing import Final

from spanbridge.agent import notify
from spanbridge.agent.calls import Calls
from spanbridge.agent.changes import LeaseChanges
from spanbridge.agent.dispatch import Dispatcher
from spanbridge.agent.journal import Journal
from spanbridge.agent.leases import Leases
from spanbridge.agent.listen import Listener, hold_lock, open_listener
from spanbridge.agent.logs import LOG
from spanbridge.agent.metrics import Figures, serving
from spanbridge.agent.notify import Notifier, inherited_listener
from spanbridge.agent.parts import Parts
from spanbridge.agent.queries import Queries
from spanbridge.agent.server import Server
from spanbridge.agent.settings import Settings
from spanbridge.agent.tally import Tally
from spanbridge.base import clock
from spanbridge.base.errors import NodeError
from spanbridge.bridge.gather import Gatherer
from spanbridge.rtnl import NetNs
from spanbridge.rtnl.transport import SPARES

OPEN_FILES: Final = 65536
"""Every call holds up to ten descriptors; the usual soft limit of 1024 is too few."""

SPARE_SOCKETS: Final = 8
"""Netlink sockets kept between calls: what a burst of calls uses at a time, about."""

_STATUS_EVERY_S: Final = 10.0

_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(settings: Settings) -> None:
    """
    Run an agent until a signal ends it.

    Raises:
        NodeError: Another one runs, or the node is not as needed.
    """
    _raise_open_files()
    notifier = Notifier(os.environ)
    lock = hold_lock(settings.places.run_dir)
    try:
        journal = _open_journal(settings)
        listener = inherited_listener(os.environ) or open_listener(settings.places.socket)
        with listener:
            asyncio.run(_run(settings, listener, journal=journal, notifier=notifier))
        LOG.info("stopped")
    finally:
        os.close(lock)


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _open_journal(settings: Settings) -> Journal:
    directory = settings.places.state_dir / "attachments"
    try:
        return Journal(directory)
    except OSError as exc:
        raise NodeError(f"cannot read {directory}: {exc.strerror}", hint="run as root") from exc


@contextlib.asynccontextmanager
async def _open_parts(settings: Settings, journal: Journal) -> AsyncIterator[Parts]:
    """Start what calls are helped by; end it when no call runs any more."""
    places = settings.places
    changes = LeaseChanges(journal, places.run_dir)
    leases = Leases(
        asyncio.get_running_loop(),
        places.state_dir,
        clock=clock.SYSTEM,
        random=random.SystemRandom().random,
        on_change=changes.on_change,
        orphan_release=changes.orphan_release,
    )
    try:
        await leases.resume()
    except OSError as exc:
        raise NodeError(
            f"cannot read the leases in {places.state_dir}: {exc.strerror}", hint="run as root"
        ) from exc
    try:
        yield Parts(keeper=leases, remove_link=Gatherer().remove, leases=leases)
    finally:
        await leases.close()


async def _run(
    settings: Settings, listener: Listener, *, journal: Journal, notifier: Notifier
) -> None:
    stop = asyncio.Event()
    for number in _ENDING:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tally = Tally()
    async with _open_parts(settings, journal) as parts:
        calls = Calls(journal, settings.places.run_dir, parts=parts)
        dispatcher = Dispatcher(calls.run, limit=settings.limits.calls, tally=tally)
        queries = Queries(settings, dispatcher, journal=journal, leasing=parts.leases, tally=tally)
        server = Server(listener, dispatcher, queries, limits=settings.limits, tally=tally)
        figures = Figures(tally, journal=journal, leasing=parts.leases)
        # Outside the group, which would wrap what cannot be served into one of its own errors.
        async with serving(settings.metrics, figures), asyncio.TaskGroup() as group:
            group.create_task(_tell(notifier, stop, figures), name="status")
            # What is here stays: the collector need not look at it again and again.
            gc.freeze()
            SPARES.keep(SPARE_SOCKETS)
            with NetNs.current() as home:
                home.keep_sysctls()
            LOG.info("ready", socket=str(settings.places.socket), attachments=len(journal))
            await server.serve(stop)


async def _tell(notifier: Notifier, stop: asyncio.Event, figures: Figures) -> None:
    """Keep the service manager informed until the agent stops."""
    notifier.send(notify.READY, f"STATUS={figures.in_words()}")
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STATUS_EVERY_S):
                await stop.wait()
        notifier.send(f"STATUS={figures.in_words()}")
    LOG.info("stopping", calls=figures.tally.in_flight)
    notifier.send(notify.STOPPING, "STATUS=letting running calls end")
