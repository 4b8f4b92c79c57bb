# SPDX-License-Identifier: Apache-2.0
"""`spanbridge uplink`: the device by which a bridge reaches the outside."""

import contextlib
import json
import os
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
def ensure(*, device: str, bridge: str, vlans: tuple[str, ...], mtu: int) -> None:
    """
    Make DEVICE a port of a bridge that carries exactly these VLANs.

    VLANs leave with their tags; a bridge's default VLAN (1), where it is named, leaves
    untagged. VLANs that others have put on the device stay. Refused: a device with
    addresses, with the node's default route, or with another master.
    """
    from spanbridge.bridge.uplink.changes import ensure as ensure_uplink
    from spanbridge.cli.uplink_view import made_words
    from spanbridge.model.uplink import parse_wish

    wish = parse_wish(device, bridge, vlans, mtu)
    with _node() as (site, ledger):
        done = ensure_uplink(site, ledger, wish)
    for change in done.changes:
        click.echo(made_words(change, wish))
    if not done.changes:
        click.echo(f"{wish.device} is the uplink of {wish.bridge} already, as asked")
    for note in done.notes:
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
    from spanbridge.cli.uplink_view import undone_words

    if (device is None) == (bridge is None):
        raise click.UsageError("give either a DEVICE or --bridge")
    left: list[str] = []
    with _node() as (site, ledger):
        records = ledger.of_bridge(IfName(bridge)) if bridge else ()
        one = ledger.read(device) if device else None
        for record in (*records, *([one] if one is not None else ())):
            released = release_uplink(site, ledger, record.wish.device)
            for change in released.changes:
                click.echo(undone_words(change, record.wish))
            left += released.left
        if not records and one is None:
            click.echo(f"nothing is on record for {device or bridge}: nothing to undo")
    for reason in left:
        click.echo(f"left: {reason}; run the command again when they are gone", err=True)
    return Exit.FINDINGS if left else Exit.FINE
