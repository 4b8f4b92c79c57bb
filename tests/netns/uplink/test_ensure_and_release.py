# SPDX-License-Identifier: Apache-2.0
"""`uplink ensure` makes a device the uplink; `uplink release` leaves no trace of that."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pytest

from spanbridge.testing.dhcp import wait_until

if TYPE_CHECKING:
    from tests.netns.uplink.conftest import Host

DEVICES: Final = {
    "never-up": [],
    "up": ["ip link set eth1 up"],
    "up-once": ["ip link set eth1 up", "ip link set eth1 down"],
    "promiscuous": ["ip link set eth1 promisc on"],
    "allmulticast": ["ip link set eth1 up allmulticast on"],
    "small": ["ip link set eth1 mtu 1280"],
    "large": ["ip link set eth1 mtu 4000 txqueuelen 7 group 5 alias card"],
}
BRIDGES: Final = {
    "none": [],
    "new": ["ip link add br-mig type bridge"],
    "up": ["ip link add br-mig type bridge", "ip link set br-mig up"],
    "with-a-mac": ["ip link add br-mig address 0a:00:00:00:00:09 type bridge"],
    "made-large": ["ip link add br-mig mtu 3000 type bridge"],
    "set-large": ["ip link add br-mig type bridge", "ip link set br-mig mtu 3000"],
    "with-a-port": [
        "ip link add br-mig up type bridge",
        "ip link add p0 type veth peer name e0",
        "ip link set p0 master br-mig up",
    ],
}


SETTLE_S: Final = 2
"""The kernel tells of carrier at most once a second."""


def _settle(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLE_S
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)


CASES: Final = [
    *((device, "none", "") for device in DEVICES),
    *((device, "none", "--mtu 2000") for device in DEVICES),
    *(("never-up", bridge, "--mtu 2000") for bridge in BRIDGES),
    *(("up", bridge, "") for bridge in BRIDGES),
]


@pytest.mark.parametrize(("device", "bridge", "mtu"), CASES)
def test_release_leaves_every_byte_as_before_ensure(
    host: "Host", device: str, bridge: str, mtu: str
) -> None:
    host.sh(*BRIDGES[bridge], *DEVICES[device])
    read = host.links if bridge == "none" else host.settings
    if any(each.split()[-1] == "up" for each in DEVICES[device][-1:]):
        wait_until(lambda: host.links()["eth1"]["operstate"] == "UP")
    before = read()

    ensured = host.uplink(f"ensure eth1 --bridge br-mig {mtu}")
    between = host.links()
    released = host.uplink("release eth1")

    assert (ensured.code, released.code) == (0, 0), ensured.err + released.err
    assert between["eth1"]["master"] == "br-mig"
    assert {"UP"} <= set(between["eth1"]["flags"])
    assert {"UP"} <= set(between["br-mig"]["flags"])
    assert between["br-mig"]["address"] == before.get("br-mig", between["br-mig"])["address"]
    _settle(lambda: read() == before)
    assert read() == before


def test_the_bridge_that_is_made_has_a_mac_of_its_own(host: "Host") -> None:
    host.uplink("ensure eth1 --bridge br-mig")

    made = host.links()["br-mig"]["address"]
    assert made != host.links()["eth1"]["address"]
    assert int(made[:2], 16) & 3 == 2

    host.sh("ip link set eth1 nomaster")
    assert host.links()["br-mig"]["address"] == made


def test_a_bridge_that_is_made_again_has_the_same_mac(host: "Host") -> None:
    host.uplink("ensure eth1 --bridge br-mig")
    before = host.links()["br-mig"]["address"]
    host.sh("ip link del br-mig")

    host.uplink("ensure eth1 --bridge br-mig")

    assert host.links()["br-mig"]["address"] == before
    assert host.uplink("release eth1").code == 0
    assert "br-mig" not in host.links()


def test_mtu_is_set_on_the_bridge_and_on_a_smaller_device_only(host: "Host") -> None:
    host.uplink("ensure eth1 --bridge br-mig --mtu 2000")
    assert (host.links()["br-mig"]["mtu"], host.links()["eth1"]["mtu"]) == (2000, 2000)

    host.uplink("ensure eth1 --bridge br-mig --mtu 1400")
    assert (host.links()["br-mig"]["mtu"], host.links()["eth1"]["mtu"]) == (1400, 2000)

    host.uplink("release eth1")
    assert host.links()["eth1"]["mtu"] == 1500


def test_ensuring_again_changes_nothing_and_says_so(host: "Host") -> None:
    host.uplink("ensure eth1 --bridge br-mig")
    before = host.picture()

    said = host.uplink("ensure eth1 --bridge br-mig")

    assert (said.code, said.out) == (0, "eth1 is the uplink of br-mig already, as asked\n")
    assert host.picture() == before


def test_ensuring_again_mends_what_somebody_broke(host: "Host") -> None:
    before = host.links()
    host.uplink("ensure eth1 --bridge br-mig")
    host.sh("ip link set eth1 nomaster", "ip link set eth1 down", "ip link set br-mig down")

    said = host.uplink("ensure eth1 --bridge br-mig")

    assert said.out.splitlines() == ["set br-mig up", "made eth1 a port of br-mig", "set eth1 up"]
    host.uplink("release eth1")
    assert host.links() == before


def test_a_port_that_somebody_else_made_stays_a_port(host: "Host") -> None:
    host.sh("ip link add br-mig up type bridge", "ip link set eth1 up master br-mig")
    before = host.picture()

    assert host.uplink("ensure eth1 --bridge br-mig").code == 0
    assert host.uplink("release eth1").code == 0

    assert host.picture()[:2] == before[:2]


def test_a_bridge_with_other_ports_stays_until_they_are_gone(host: "Host") -> None:
    before = host.links()
    host.uplink("ensure eth1 --bridge br-mig")
    host.sh("ip link add p0 master br-mig type veth peer name e0")

    first = host.uplink("release eth1")
    assert first.code == 1
    assert "left: bridge br-mig is to be removed, but has other ports: p0" in first.err
    assert "master" not in host.links()["eth1"]

    host.sh("ip link del p0")
    assert host.uplink("release eth1").code == 0
    assert host.links() == before
    assert "nothing is on record" in host.uplink("release eth1").out


def test_the_last_uplink_of_a_bridge_takes_the_bridge_along(host: "Host") -> None:
    host.sh("ip link add eth2 type veth peer name far2")
    before = host.links()
    host.uplink("ensure eth1 --bridge br-mig")
    host.uplink("ensure eth2 --bridge br-mig")

    assert host.uplink("release eth1").code == 0
    assert host.links()["eth2"]["master"] == "br-mig"

    assert host.uplink("release eth2").code == 0
    assert host.links() == before


def test_release_by_bridge_releases_every_uplink_of_it(host: "Host") -> None:
    host.sh("ip link add eth2 type veth peer name far2")
    before = host.links()
    for device in ("eth1", "eth2"):
        host.uplink(f"ensure {device} --bridge br-mig")

    assert host.uplink("release --bridge br-mig").code == 0

    assert host.links() == before


def test_a_device_that_was_pulled_out_takes_nothing_along(host: "Host") -> None:
    host.uplink("ensure eth1 --bridge br-mig")
    host.sh("ip link del eth1")

    assert host.uplink("release eth1").code == 0

    assert set(host.links()) == {"lo"}
    assert host.picture()[2] == "[]"


def test_a_stranger_of_the_bridges_name_is_not_removed(host: "Host") -> None:
    host.uplink("ensure eth1 --bridge br-mig")
    host.sh("ip link del br-mig", "ip link add br-mig type bridge")

    assert host.uplink("release eth1").code == 0

    assert "br-mig" in host.links()


def test_release_after_a_reboot_touches_nothing_that_is_not_the_uplink(host: "Host") -> None:
    host.uplink("ensure eth1 --bridge br-mig --mtu 2000")
    record = host.place / "state/uplinks/eth1.json"
    boot = json.loads(record.read_text())["boot"]
    record.write_text(record.read_text().replace(boot, "another-boot"))
    # What a boot makes of it, without a manager that keeps the uplink.
    host.sh("ip link del br-mig", "ip link set eth1 up mtu 2000")
    before = host.picture()

    assert host.uplink("release eth1").code == 0

    assert host.picture()[:2] == before[:2]
    assert host.picture()[2] == "[]"


REFUSED: Final = {
    "missing": ([], "eth9", "there is no such device"),
    "loopback": ([], "lo", "it is the loopback"),
    "address": (["ip addr add 192.0.2.7/24 dev eth1"], "eth1", "it has the address 192.0.2.7/24"),
    "address-6": (["ip addr add 2001:db8::7/64 dev eth1"], "eth1", "the address 2001:db8::7/64"),
    "route": (
        ["ip link set eth1 up", "ip route add default dev eth1"],
        "eth1",
        "the node's default route leaves by it",
    ),
    "master": (
        ["ip link add br-old type bridge", "ip link set eth1 master br-old"],
        "eth1",
        "it is a port of br-old (bridge) already",
    ),
    "bridge": (["ip link add br-old type bridge"], "br-old", "it is a bridge"),
    "macvlan": (
        ["ip link add mac0 link eth1 type macvlan"],
        "eth1",
        "the kernel refuses",
    ),
}


@pytest.mark.parametrize(("lines", "device", "cause"), REFUSED.values(), ids=REFUSED)
def test_a_device_with_another_use_is_refused_and_nothing_is_changed(
    host: "Host", lines: list[str], device: str, cause: str
) -> None:
    host.sh(*lines)
    before = host.picture()

    said = host.uplink(f"ensure {device} --bridge br-mig")

    assert said.code == 3
    assert cause in said.err
    assert len(said.err.splitlines()) == 2, "a remedy follows"
    assert host.picture()[:2] == before[:2]
    assert not host.uplink("show --format json").out.count('"asked"')


def test_a_link_of_the_bridges_name_that_is_none_is_refused(host: "Host") -> None:
    said = host.uplink("ensure eth1 --bridge far")

    assert said.code == 3
    assert "cannot use bridge far: the link of this name is of kind 'veth'" in said.err


def test_a_device_on_record_for_another_bridge_is_refused(host: "Host") -> None:
    host.uplink("ensure eth1 --bridge br-mig")

    said = host.uplink("ensure eth1 --bridge br-new")

    assert said.code == 3
    assert "spanbridge uplink release eth1" in said.err


@pytest.mark.parametrize(
    "line",
    [
        "eth1 --bridge eth1",
        "eth1 --bridge br/mig",
        "eth1 --bridge br-mig --vlan 0",
        "eth1 --bridge br-mig --vlan 4095",
        "eth1 --bridge br-mig --vlan 20-10",
        "eth1 --bridge br-mig --vlan two",
        "eth1 --bridge br-mig --mtu 67",
        "eth1",
    ],
)
def test_wrong_words_are_refused_before_anything_is_touched(host: "Host", line: str) -> None:
    said = host.uplink(f"ensure {line}")

    assert said.code == 2
    assert not (host.place / "state").exists()


def test_show_tells_what_is_not_as_asked_and_how_to_mend_it(host: "Host") -> None:
    host.uplink("ensure eth1 --bridge br-mig --mtu 2000")
    assert host.uplink("show").code == 0
    host.sh("ip link set eth1 nomaster")

    said, text = host.uplink("show --format json"), host.uplink("show")

    assert (said.code, text.code) == (1, 1)
    (one,) = json.loads(said.out)["uplinks"]
    command = "spanbridge uplink ensure eth1 --bridge br-mig --mtu 2000"
    assert one["faults"] == [{"cause": "it is no port of br-mig", "remedy": command}]
    assert command in text.out


def test_show_lists_ports_that_somebody_else_made(host: "Host") -> None:
    host.sh("ip link add br-mig type bridge", "ip link add vx0 type vxlan id 9 dstport 4789")
    host.sh("ip link set vx0 master br-mig")

    (one,) = json.loads(host.uplink("show --format json").out)["uplinks"]

    assert (one["device"], one["bridge"], one["asked"], one["faults"]) == (
        "vx0",
        "br-mig",
        None,
        [],
    )
    assert "no bridge of this node has an uplink" in host.uplink("show --bridge other").out
