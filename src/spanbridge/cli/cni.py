# SPDX-License-Identifier: Apache-2.0
"""`spanbridge cni`: putting the CNI programs where a runtime finds them."""

from pathlib import Path

import click

from spanbridge.cli.options import examples


@click.group(epilog=examples("spanbridge cni install --bin-dir /opt/cni/bin"))
def cni() -> None:
    """Put the CNI programs where a container runtime finds them."""


@cni.command(
    epilog=examples(
        "spanbridge cni install --bin-dir /opt/cni/bin",
        "spanbridge cni install --bin-dir ./bin --no-shim",
    )
)
@click.option(
    "--bin-dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory in which the runtime looks for CNI plugins; made when missing.",
)
@click.option(
    "--no-shim",
    is_flag=True,
    help="Install the one-shot program only; without an agent this happens anyway.",
)
def install(*, bin_dir: Path, no_shim: bool) -> None:
    """
    Install bridge, host-local and static into a directory.

    They are one program, told apart by its name. A plugin of somebody else under such
    a name is kept beside it with the suffix .before-spanbridge.
    """
    from spanbridge.cni.install import install as install_programs

    del no_shim
    for path in install_programs(bin_dir):
        click.echo(path)
