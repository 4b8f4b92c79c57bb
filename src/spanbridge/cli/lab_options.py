# SPDX-License-Identifier: Apache-2.0
"""What all commands of the lab share: where its files are, and changing it alone."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from spanbridge.cli.signals import ending_between_steps
from spanbridge.cli.terminal import Steps, progress
from spanbridge.lab.place import STATE_DIR, Place, changing_alone

state_dir: Final = click.option(
    "--state-dir",
    "place",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE_DIR,
    show_default=True,
    callback=lambda _ctx, _param, value: Place(value.resolve()),
    help="Where the lab keeps its files; removed by `lab down`.",
)


@contextlib.contextmanager
def changing() -> Iterator[Steps]:
    """Change the lab: alone, with progress, and ended by a signal only between two steps."""
    with ending_between_steps() as check, changing_alone(), progress(check) as steps:
        yield steps
