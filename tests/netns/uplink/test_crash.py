# SPDX-License-Identifier: Apache-2.0
"""`uplink` killed before each of its changes: the next call, of either kind, converges."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pytest

from spanbridge.base.names import IfName
from spanbridge.bridge import Site
from spanbridge.bridge.uplink.changes import ensure, release
from spanbridge.bridge.uplink.record import Ledger
from spanbridge.model.uplink import UplinkWish, parse_wish
from spanbridge.rtnl import NetNs
from spanbridge.testing.crash import killed_at_every_change

if TYPE_CHECKING:
    from tests.netns.uplink.conftest import Host

WISH: Final = parse_wish("eth1", "br-mig", (), 2000)
LEAST: Final = 10
"""Changes that each of the two calls makes at least, files included."""

EXISTING: Final = {
    "bridge-missing": [],
    "bridge-there": ["ip link add br-mig address 0a:00:00:00:00:09 type bridge"],
    "port-there": [
        "ip link add br-mig address 0a:00:00:00:00:09 type bridge",
        "ip link set eth1 master br-mig",
    ],
}


def _on(host: "Host", work: Callable[[Site, Ledger], object]) -> Callable[[], object]:
    def run() -> object:
        with (
            NetNs.open(str(host.netns.path)) as netns,
            Site(netns, None, sandbox_path="", run_dir=host.place / "run") as site,
        ):
            return work(site, Ledger(host.place / "state/uplinks"))

    return run


def _ensure(host: "Host", wish: UplinkWish = WISH) -> Callable[[], object]:
    return _on(host, lambda site, ledger: ensure(site, ledger, wish))


def _release(host: "Host") -> Callable[[], object]:
    return _on(host, lambda site, ledger: release(site, ledger, IfName("eth1")))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lines", EXISTING.values(), ids=EXISTING)
def test_release_after_a_killed_ensure_leaves_no_trace(host: "Host", lines: list[str]) -> None:
    host.sh(*lines)
    # What the kernel keeps of a bridge's first port is there from the start.
    _ensure(host)()
    _release(host)()
    before = host.picture()
    steps = 0

    for steps in killed_at_every_change(_ensure(host)):
        _release(host)()
        assert host.picture() == before, f"killed after {steps} changes"

    assert steps + 1 >= LEAST


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lines", EXISTING.values(), ids=EXISTING)
def test_ensure_after_a_killed_ensure_finishes_it(host: "Host", lines: list[str]) -> None:
    host.sh(*lines)
    _ensure(host)()
    _release(host)()
    before = host.picture()

    for steps in killed_at_every_change(_ensure(host)):
        _ensure(host)()
        links = host.links()
        assert links["eth1"]["master"] == "br-mig", f"killed after {steps} changes"
        assert (links["eth1"]["mtu"], links["br-mig"]["mtu"]) == (2000, 2000)
        assert {"UP"} <= set(links["eth1"]["flags"]) & set(links["br-mig"]["flags"])
        _release(host)()
        assert host.picture() == before, f"killed after {steps} changes"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lines", EXISTING.values(), ids=EXISTING)
def test_release_after_a_killed_release_finishes_it(host: "Host", lines: list[str]) -> None:
    host.sh(*lines)
    _ensure(host)()
    _release(host)()
    before = host.picture()
    _ensure(host)()

    for steps in killed_at_every_change(_release(host)):
        _release(host)()
        assert host.picture() == before, f"killed after {steps} changes"
        _ensure(host)()

    assert host.picture() == before


@pytest.mark.timeout(120)
def test_ensure_after_a_killed_release_makes_the_uplink_again(host: "Host") -> None:
    before = host.picture()
    _ensure(host)()

    for steps in killed_at_every_change(_release(host)):
        _ensure(host)()
        assert host.links()["eth1"]["master"] == "br-mig", f"killed after {steps} changes"

    assert host.picture()[:2] == before[:2]
