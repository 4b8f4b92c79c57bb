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
        "spanbridge cni install --bin-dir /host/opt/cni/bin --no-oneshot",
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
    help="Never ask an agent: install the one-shot program under every name.",
)
@click.option(
    "--no-oneshot",
    is_flag=True,
    help="Install the shim only: without an agent, calls are answered with code 11.",
)
def install(*, bin_dir: Path, no_shim: bool, no_oneshot: bool) -> None:
    """
    Install bridge, host-local, static and dhcp into a directory.

    They are one small program, the shim, told apart by its name: it hands calls to the
    agent, or to the one-shot program beside it where no agent runs. A plugin of
    somebody else under such a name is kept beside it with the suffix
    .before-spanbridge.
    """
    from spanbridge.cni.install import built_shim
    from spanbridge.cni.install import install as install_programs

    if no_shim and no_oneshot:
        raise click.UsageError("--no-shim and --no-oneshot leave nothing to install")
    shim = None if no_shim else built_shim()
    for path in install_programs(bin_dir, shim=shim, oneshot=not no_oneshot):
        click.echo(path)
    if shim is None and not no_shim:
        click.echo(
            "installed the one-shot program only: this package was built without a C compiler,"
            " and has no shim",
            err=True,
        )
