# SPDX-License-Identifier: Apache-2.0
"""
The leases on disk: one file each, whole or absent, so that a killed agent goes on.

A file is ``{"version": 1, "requested_boot": seconds, "lease": {…}}``: the lease's own
times are wall clock; time since boot is kept beside them since nobody can set it.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanbridge.base import log
from spanbridge.base.errors import DecodeError
from spanbridge.base.files import write_atomic
from spanbridge.ipam.dhcp.lease import Lease, parse_lease, render_lease
from spanbridge.model.owner import Owner
from spanbridge.model.reader import parse_object

VERSION: Final = 1
DIRECTORY: Final = "leases"
"""Under the state directory."""

LIVE: Final = "bound"
LOST: Final = "lost"
"""Values of ``Lease.state`` on disk; a lost one is not used, and a new one is looked for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """
    What is written of one lease.

    Attributes:
        lease: The lease.
        requested_boot: When the REQUEST that was acknowledged was sent, in seconds
            since the boot that ``lease.boot_id`` names.
    """

    lease: Lease
    requested_boot: float


def entry_path(directory: Path, owner: Owner) -> Path:
    """Return where the entry of an owner is."""
    return directory / (owner.tag.replace(":", "-") + ".json")


def write_entry(directory: Path, entry: Entry) -> None:
    """
    Write an entry in place of the former one.

    Raises:
        OSError: It is as before, or, after a crash of the machine, may be.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = {
        "version": VERSION,
        "requested_boot": entry.requested_boot,
        "lease": render_lease(entry.lease),
    }
    write_atomic(entry_path(directory, entry.lease.owner), json.dumps(document).encode())


def remove_entry(directory: Path, owner: Owner) -> None:
    """
    Forget an owner; succeeds where there is nothing.

    Raises:
        OSError: It cannot be removed.
    """
    entry_path(directory, owner).unlink(missing_ok=True)


def parse_entry(data: bytes) -> Entry:
    """
    Read an entry.

    Raises:
        DecodeError: It is damaged, or of another release.
    """
    node = parse_object(data, "the lease file")
    version, boot = node.take("version"), node.take("requested_boot")
    if version != VERSION:
        raise DecodeError(f"cannot read the lease file: version {version!r} is not {VERSION}")
    if not isinstance(boot, (int, float)) or isinstance(boot, bool) or not boot >= 0:
        raise DecodeError(f"cannot read the lease file: {boot!r} is no time since boot")
    return Entry(parse_lease(node.take("lease")), float(boot))


def read_entries(directory: Path) -> Iterator[Entry]:
    """
    Read all entries; a damaged one is moved aside, so that its lease alone is lost.

    Raises:
        OSError: The directory cannot be read.
    """
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        if path.name.startswith(".") and path.name.endswith(".tmp"):
            path.unlink(missing_ok=True)  # of a writer that was killed
        elif path.suffix == ".json":
            try:
                yield parse_entry(path.read_bytes())
            except (DecodeError, OSError) as exc:
                set_aside(path, exc)


def set_aside(path: Path, cause: Exception) -> None:
    """Keep a damaged file for a human, out of the way."""
    aside = path.with_suffix(".damaged")
    log.error("a lease is lost: its file is damaged", file=path, kept_as=aside, cause=cause)
    try:
        os.replace(path, aside)  # noqa: PTH105  # beside its OSError
    except OSError as exc:
        log.error("cannot move a damaged lease file aside", file=path, cause=exc)
