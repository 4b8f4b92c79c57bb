# SPDX-License-Identifier: Apache-2.0
"""What commands of the lab share: which lab is meant, where its files are, changing it alone."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from spanbridge.cli.signals import ending_between_steps
from spanbridge.cli.terminal import Steps, progress
from spanbridge.lab.place import STATE_DIR, Place, changing_alone
from spanbridge.lab.planned import read_planned
from spanbridge.lab.topology import IpamKind, LabParameters

_Command = Callable[..., Any]
_DEFAULTS: Final = LabParameters()
PLAN_DIR: Final = "spanbridge.lab.plan"
"""Where click's context has the directory that --plan named."""

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


class _Names(click.ParamType[tuple[str, ...]]):
    """Names joined by commas."""

    name = "names"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,  # noqa: ARG002  # click's own signature
        ctx: click.Context | None,  # noqa: ARG002  # click's own signature
    ) -> tuple[str, ...]:
        """Split; click also passes a default that is split already."""
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in str(value).split(","))


_bin_dir: Final = click.option(
    "--bin-dir",
    envvar="SPANBRIDGE_LAB_BIN_DIR",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Use the CNI programs bridge and host-local that lie here, "
    "for example the reference ones in /usr/lib/cni. Default: install ours.",
)


def planned(command: _Command) -> _Command:
    """Add the options that say what lab is meant; the command gets ``parameters``."""

    @click.option(
        "--clusters",
        type=_Names(),
        default=",".join(_DEFAULTS.clusters),
        show_default=True,
        help="Names, joined by commas.",
    )
    @click.option(
        "--nodes", default=_DEFAULTS.nodes, show_default=True, help="Nodes in each cluster."
    )
    @click.option(
        "--vlan", default=_DEFAULTS.vlan, show_default=True, help="VLAN of the migration network."
    )
    @click.option("--subnet", default=_DEFAULTS.subnet, show_default=True, help="Its IPv4 subnet.")
    @click.option("--mtu", default=_DEFAULTS.mtu, show_default=True, help="Its MTU, in bytes.")
    @click.option(
        "--ipam",
        type=click.Choice([kind.value for kind in IpamKind]),
        help="Who hands out addresses: a DHCP server on the VLAN, or each node from its part of "
        "the subnet.  [default: dhcp; with --bin-dir host-local]",
    )
    @click.option(
        "--plan",
        "plan_dir",
        type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
        help="Build it from what `spanbridge plan -o DIR` wrote, which says all the rest; --nodes "
        "counts where the plan names no nodes.",
    )
    @_bin_dir
    @state_dir
    @functools.wraps(command)
    def with_parameters(  # noqa: PLR0913  # one argument each option
        *,
        clusters: tuple[str, ...],
        nodes: int,
        vlan: int,
        subnet: str,
        mtu: int,
        ipam: str | None,
        plan_dir: Path | None,
        **others: object,
    ) -> object:
        if plan_dir is not None:
            return command(parameters=_read_plan(plan_dir, nodes), **others)
        usual = IpamKind.HOST_LOCAL if others["bin_dir"] else IpamKind.DHCP
        kind = IpamKind(ipam) if ipam else usual
        parameters = LabParameters(clusters, nodes, vlan=vlan, subnet=subnet, mtu=mtu, ipam=kind)
        return command(parameters=parameters, **others)

    return with_parameters


def _read_plan(directory: Path, nodes: int) -> LabParameters:
    """Read a plan; what it says cannot be said once more."""
    context = click.get_current_context()
    for name in ("clusters", "vlan", "subnet", "mtu", "ipam"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--plan says what --{name} would")
    context.meta[PLAN_DIR] = directory
    return read_planned(directory, nodes=nodes)
