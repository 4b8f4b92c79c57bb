# SPDX-License-Identifier: Apache-2.0
"""After a reboot, the real managers of a node make the VLANs of the uplink as `ensure` did."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from spanbridge.testing.dhcp import wait_until
from spanbridge.testing.managers import networkd_running, run_networkmanager

if TYPE_CHECKING:
    from tests.vm.uplink.conftest import Host

WAIT_S: Final = 120
WISHES: Final = (("2", "10-20"), ("1", "2"), ("1-4094",))


def _state(host: "Host") -> list[Any]:
    links = host.links()
    bridge = links.get("br-mig")
    if bridge is None:
        return []
    data = bridge.get("linkinfo", {}).get("info_data", {})
    facts = [data.get(key) for key in ("vlan_filtering", "vlan_default_pvid", "stp_state")]
    facts += [bridge["address"], "UP" in bridge["flags"]]
    return [*facts, links["eth1"].get("master"), host.vlans(), host.vlans("br-mig")]


@pytest.fixture
def rebooted(host: "Host", tmp_path: Path) -> Callable[..., list[Any]]:
    """Makes an uplink, has a manager keep it, and reboots; how it was before that."""

    def ensure(manager: str, *vlans: str) -> list[Any]:
        host.ensure(*vlans)
        host.keep(manager, tmp_path)
        seen = _state(host)
        host.sh("ip link del br-mig", "ip link set eth1 down")
        return seen

    return ensure


@pytest.mark.parametrize("vlans", WISHES, ids=" ".join)
def test_networkd_makes_the_same_uplink(
    host: "Host", tmp_path: Path, rebooted: Callable[..., list[Any]], vlans: tuple[str, ...]
) -> None:
    wanted = rebooted("networkd", *vlans)

    with networkd_running(host.netns, tmp_path, log := tmp_path / "log"):
        try:
            wait_until(lambda: _state(host) == wanted, timeout_s=WAIT_S)
        finally:
            assert _state(host) == wanted, log.read_text()


@pytest.mark.parametrize("vlans", WISHES, ids=" ".join)
def test_networkmanager_makes_the_same_uplink(
    host: "Host", tmp_path: Path, rebooted: Callable[..., list[Any]], vlans: tuple[str, ...]
) -> None:
    wanted = rebooted("networkmanager", *vlans)

    log = run_networkmanager(host.netns, tmp_path)

    assert _state(host) == wanted, log
