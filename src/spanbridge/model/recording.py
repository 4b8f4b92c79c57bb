# SPDX-License-Identifier: Apache-2.0
"""
Observations as a file: JSON, with one line for each endpoint, node and pair.

Two runs can be compared with ``diff``, and one line can be found with ``grep``. The
same observations always give the same bytes.
"""

import json
from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.model.compact import parse_compact, render_compact
from spanbridge.model.observations import Observations
from spanbridge.model.reader import parse_object

KIND: Final = "SpanbridgeObservations"
VERSION: Final = 1
"""Raised when a reader of the old version would misread a file."""


def render_observations(observations: Observations) -> str:
    """Write observations as the text of a file."""
    record = {"kind": KIND, "version": VERSION} | render_compact(observations)
    lines = ",\n".join(f"{json.dumps(key)}: {_value(value)}" for key, value in record.items())
    return f"{{\n{lines}\n}}\n"


def _value(value: object) -> str:
    """Put each element of a list on a line of its own."""
    if not isinstance(value, list) or not value:
        return _compact(value)
    return "[\n" + ",\n".join(f" {_compact(each)}" for each in value) + "\n]"


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def parse_observations(data: bytes, what: str) -> Observations:
    """
    Read what `render_observations` wrote.

    Args:
        data: Content of the file.
        what: Its name, for errors.

    Raises:
        DecodeError: It is no JSON object.
        ConfigError: It holds something else, or is of a later version.
    """
    record = dict(parse_object(data, what).raw)
    kind, version = record.pop("kind", None), record.pop("version", None)
    if kind != KIND:
        raise ConfigError(
            f"cannot replay {what}: it holds no observations",
            pointer="/kind",
            hint="give a file that `spanbridge verify --save` wrote",
        )
    if version != VERSION:
        raise ConfigError(
            f"cannot replay {what}: it is of version {version}, this program reads {VERSION}",
            pointer="/version",
            hint="use the release of Spanbridge that wrote it, or a later one",
        )
    observations = parse_compact(Observations, record)
    _check_names(observations)
    return observations


def _check_names(observations: Observations) -> None:
    """Make sure that whoever is spoken of is there, and only once."""
    names = {each.name for each in observations.endpoints}
    if len(names) < len(observations.endpoints):
        raise ConfigError(
            "cannot use the endpoints: two have the same name",
            pointer="/endpoints",
            hint="name each as cluster/pod",
        )
    spoken: list[tuple[str, tuple[str, ...]]] = [
        ("probes", each.pair) for each in observations.probes
    ]
    spoken += [("claims", (each.asker,)) for each in observations.claims]
    for where, several in spoken:
        for name in several:
            if name not in names:
                raise ConfigError(
                    f"cannot use {name!r}: no endpoint has this name",
                    pointer=f"/{where}",
                    hint=f"write one of {', '.join(sorted(names)[:3]) or 'the endpoints first'}",
                )
