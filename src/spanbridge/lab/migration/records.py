# SPDX-License-Identifier: Apache-2.0
"""Migrations that were, kept for the report of a later `verify`."""

import json
from pathlib import Path

from spanbridge.base.errors import InputError
from spanbridge.base.files import write_atomic
from spanbridge.lab.place import Place
from spanbridge.model.compact import parse_compact, render_compact
from spanbridge.model.timeline import Migration


def _directory(place: Place) -> Path:
    return place.directory / "migrations"


def write_migration(place: Place, migration: Migration) -> Path:
    """Keep a migration; its file's number says when it was."""
    directory = _directory(place)
    directory.mkdir(parents=True, exist_ok=True)
    last = max((int(file.name.partition("-")[0]) for file in _files(place)), default=0)
    file = directory / f"{last + 1:04}-{migration.vm}.json"
    write_atomic(file, json.dumps(render_compact(migration)).encode(), durable=False)
    return file


def _files(place: Place) -> list[Path]:
    return sorted(_directory(place).glob("[0-9]*-*.json"))


def read_migrations(place: Place) -> tuple[Migration, ...]:
    """Read every migration since `lab up`, in their order; what cannot be read is left out."""
    found = []
    for file in _files(place):
        try:
            found.append(parse_compact(Migration, json.loads(file.read_bytes())))
        except (OSError, ValueError, InputError):
            continue
    return tuple(found)
