# SPDX-License-Identifier: Apache-2.0
"""`spanbridge uplink`: the device by which a bridge reaches the outside."""

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spanbridge.cli.exits import Exit
from spanbridge.cli.options import examples, format_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spanbridge.bridge import Site
    from spanbridge.bridge.uplink.record import Ledger


@click.group(
    epilog=examples(
        "spanbridge uplink ensure eth1 --bridge br-mig --vlan 2",
        "spanbridge uplink show",
        "spanbridge uplink release eth1",
    )
)
def uplink() -> None:
    """
    Connect a bridge to the outside: a port, its VLANs, and the way back.

    What is done is recorded first (SPANBRIDGE_STATE, by default /var/lib/spanbridge), so
    that `release` undoes exactly that, also after a crash.
    """


_root_option = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default="/",
    help="Root of the node's file system, for the files of --persist; /host in a pod, for example.",
)


@contextlib.contextmanager
def _node() -> "Iterator[tuple[Site, Ledger]]":
    """Open this network namespace, and the records of it."""
    from spanbridge.agent.settings import parse_places
    from spanbridge.bridge import Site
    from spanbridge.bridge.uplink.record import Ledger
    from spanbridge.rtnl import NetNs

    places = parse_places(os.environ)
    with (
        NetNs.current() as host,
        Site(host, None, sandbox_path="", run_dir=places.run_dir) as site,
    ):
        yield site, Ledger(places.state_dir / "uplinks")


@uplink.command(
    epilog=examples(
        "spanbridge uplink ensure eth1 --bridge br-mig --vlan 2",
        "spanbridge uplink ensure eth1 --bridge br-mig --vlan 2 --vlan 100-199 --mtu 9000",
        "spanbridge uplink ensure eth1 --bridge br-mig --vlan 2 --persist networkd",
        "spanbridge uplink ensure eth1 --bridge br-mig --vlan 2 --persist print > uplink.txt",
    )
)
@click.argument("device")
@click.option("--bridge", required=True, help="The bridge; made when missing.")
@click.option(
    "--vlan",
    "vlans",
    multiple=True,
    metavar="N|N-M",
    help="VLAN that the uplink carries; may be repeated. Without any, the bridge filters none.",
)
@click.option(
    "--mtu",
    type=int,
    default=0,
    help="Bytes: the bridge gets it, and the device where it has less. Omitted: left alone.",
)
@click.option(
    "--persist",
    type=click.Choice(["auto", "nmstate", "networkmanager", "networkd", "print", "none"]),
    default="auto",
    show_default=True,
    help="Who keeps it across reboots: auto finds the node's network manager, and writes its"
    " files, or prints the policy where NMState manages the node. print writes nothing.",
)
@_root_option
def ensure(
    *, device: str, bridge: str, vlans: tuple[str, ...], mtu: int, persist: str, root: Path
) -> None:
    """
    Make DEVICE a port of a bridge that carries exactly these VLANs.

    VLANs leave with their tags; a bridge's default VLAN (1), where it is named, leaves
    untagged. VLANs that others have put on the device stay. Refused: a device with
    addresses, with the node's default route, or with another master.
    """
    from spanbridge.bridge.uplink.changes import ensure as ensure_uplink
    from spanbridge.bridge.uplink.keep import keep
    from spanbridge.cli.uplink_view import made_words
    from spanbridge.model.uplink import parse_wish

    wish = parse_wish(device, bridge, vlans, mtu)
    with _node() as (site, ledger):
        done = ensure_uplink(site, ledger, wish)
        # Where texts follow on standard output, it holds nothing else: it may be redirected.
        for change in done.changes:
            click.echo(made_words(change, wish), err=persist == "print")
        if not done.changes:
            already = f"{wish.device} is the uplink of {wish.bridge} already, as asked"
            click.echo(already, err=persist == "print")
        kept = keep(site, ledger, done.record, way=persist, root=root)
    for path in kept.written:
        click.echo(f"wrote {path}")
    for text in kept.printed:
        click.echo(f"# {text.path}\n{text.content}", nl=False)
    for note in (*done.notes, *kept.notes):
        click.echo(f"mind: {note}", err=True)


@uplink.command(
    epilog=examples(
        "spanbridge uplink show",
        "spanbridge uplink show --bridge br-mig --format json",
    )
)
@click.option("--bridge", help="Only the uplinks of this bridge.")
@format_option("text", "json")
def show(*, bridge: str | None, output_format: str) -> int:
    """
    List uplinks: those made by `ensure`, and ports that lead to no pod.

    Exits with 1 where one is not as it was asked to be, with the command that mends it.
    """
    from spanbridge.base.names import IfName
    from spanbridge.bridge.uplink.show import faults, observe
    from spanbridge.cli.terminal import facts
    from spanbridge.cli.uplink_view import render_uplink, show_view

    with _node() as (site, ledger):
        found = observe(site.node, ledger, IfName(bridge) if bridge else None)
    if output_format == "json":
        click.echo(json.dumps({"uplinks": [render_uplink(each) for each in found]}, indent=2))
    else:
        facts().print(show_view(found))
    return Exit.FINDINGS if any(faults(each) for each in found) else Exit.FINE


@uplink.command(
    epilog=examples(
        "spanbridge uplink release eth1",
        "spanbridge uplink release --bridge br-mig",
    )
)
@click.argument("device", required=False)
@click.option("--bridge", help="Release every uplink of this bridge.")
def release(*, device: str | None, bridge: str | None) -> int:
    """
    Undo what `ensure` did to DEVICE, and nothing else.

    A bridge that `ensure` made goes too, unless it has other ports: then it stays on
    record, the exit code is 1, and a later release removes it.
    """
    from spanbridge.base.names import IfName
    from spanbridge.bridge.uplink.changes import release as release_uplink
    from spanbridge.bridge.uplink.keep import remove_files
    from spanbridge.cli.uplink_view import undone_words

    if (device is None) == (bridge is None):
        raise click.UsageError("give either a DEVICE or --bridge")
    left: list[str] = []
    with _node() as (site, ledger):
        records = ledger.of_bridge(IfName(bridge)) if bridge else ()
        one = ledger.read(device) if device else None
        for record in (*records, *([one] if one is not None else ())):
            # Files first: a reboot on the way must not bring back what was taken down.
            files = remove_files(site, ledger, record)
            for path in files.paths:
                click.echo(f"removed {path}")
            if files.reload:
                click.echo(f"mind: a running manager knows them until: {files.reload}", err=True)
            left += [f"{path} was changed since it was written: not removed" for path in files.left]
            released = release_uplink(site, ledger, record.wish.device)
            for change in released.changes:
                click.echo(undone_words(change, record.wish))
            left += released.left
        if not records and one is None:
            click.echo(f"nothing is on record for {device or bridge}: nothing to undo")
    for reason in left:
        click.echo(f"left: {reason}", err=True)
    return Exit.FINDINGS if left else Exit.FINE
