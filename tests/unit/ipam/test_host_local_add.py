# SPDX-License-Identifier: Apache-2.0
"""ADD of host-local: which addresses are given, and what a repeated or failed call leaves."""

from collections.abc import Callable
from pathlib import Path

import pytest

from spanbridge.base.errors import AddressError, Code, NodeError
from spanbridge.ipam import Ipam
from spanbridge.model.result import render_result

SMALL = {"ranges": [[{"subnet": "10.0.0.0/30"}]]}
MIDDLE = {"ranges": [[{"subnet": "10.0.0.0/29"}]]}
DUAL = {"ranges": [[{"subnet": "10.0.0.0/29"}], [{"subnet": "fd00::/126"}]]}

Add = Callable[..., list[str]]
Release = Callable[..., None]
Opened = Callable[..., Ipam]
Reserved = Callable[[], dict[str, str]]


@pytest.mark.parametrize(
    ("version", "more", "per_ip"),
    [
        ("0.3.1", {"dns": {}}, {"version": "4"}),
        ("0.4.0", {"dns": {}}, {"version": "4"}),
        ("1.0.0", {}, {}),
        ("1.1.0", {}, {}),
    ],
)
def test_the_result_has_the_shape_of_every_version(
    opened: Opened, version: str, more: dict[str, object], per_ip: dict[str, str]
) -> None:
    result = opened(SMALL, cniVersion=version).add()
    ip = per_ip | {"address": "10.0.0.2/30", "gateway": "10.0.0.1"}
    assert render_result(result, version) == {"cniVersion": version, "ips": [ip]} | more


def test_the_reservation_names_container_and_interface(add: Add, reserved: Reserved) -> None:
    add("c1", SMALL)
    assert reserved() == {"10.0.0.2": "c1\r\neth0"}


def test_an_exhausted_pool_says_which(add: Add) -> None:
    add("c1", SMALL)
    with pytest.raises(AddressError, match=r"all of 10.0.0.2-10.0.0.2 \(10.0.0.0/30\)") as caught:
        add("c2", SMALL)
    assert caught.value.code == Code.ADDRESSES_EXHAUSTED


def test_ipv6_addresses_have_their_textual_form_as_names(add: Add, directory: Path) -> None:
    section = {"ranges": [[{"subnet": "fd00::/126"}]]}
    assert [add("c1", section), add("c2", section)] == [["fd00::2/126"], ["fd00::3/126"]]
    with pytest.raises(AddressError):
        add("c3", section)
    names = {each.name for each in directory.iterdir()}
    assert names == {"fd00::2", "fd00::3", "last_reserved_ip.0", "lock"}


def test_every_set_gives_one_address_in_its_order(add: Add) -> None:
    assert add("c1", DUAL) == ["10.0.0.2/29", "fd00::2/126"]


def test_a_second_range_of_a_set_serves_when_the_first_is_full(add: Add) -> None:
    section = {"ranges": [[{"subnet": "10.0.0.0/30"}, {"subnet": "10.1.0.0/30"}]]}
    assert [add("c1", section), add("c2", section)] == [["10.0.0.2/30"], ["10.1.0.2/30"]]


def test_routes_are_handed_through(opened: Opened) -> None:
    routes = [
        {"dst": "0.0.0.0/0"},
        {"dst": "10.9.0.0/16", "gw": "10.0.0.9", "mtu": 1400, "priority": 5},
    ]
    result = opened(SMALL | {"routes": routes}).add()
    assert render_result(result, "1.1.0")["routes"] == routes


def test_a_freed_address_is_used_again_last(add: Add, release: Release) -> None:
    for owner in ("c1", "c2", "c3"):
        add(owner, MIDDLE)
    release("c1")
    assert [add(f"d{i}", MIDDLE)[0] for i in range(3)] == [
        "10.0.0.5/29",
        "10.0.0.6/29",
        "10.0.0.2/29",
    ]


def test_two_interfaces_of_a_container_get_two_addresses(add: Add) -> None:
    assert add("c1", MIDDLE, "eth0") != add("c1", MIDDLE, "net1")


def test_the_same_call_again_gets_the_same_addresses(add: Add, reserved: Reserved) -> None:
    first = add("c1", DUAL)
    assert add("c1", DUAL) == first
    assert len(reserved()) == 2


def test_the_same_request_again_gets_the_same_address(add: Add, reserved: Reserved) -> None:
    request = {"runtimeConfig": {"ips": ["10.0.0.5"]}}
    assert add("c1", MIDDLE, **request) == add("c1", MIDDLE, **request) == ["10.0.0.5/29"]
    assert len(reserved()) == 1


def test_repeats_do_not_move_the_cursor(add: Add) -> None:
    add("c1", MIDDLE)
    add("c1", MIDDLE)
    assert add("c2", MIDDLE) == ["10.0.0.3/29"]


def test_requested_addresses_do_not_move_the_cursor(add: Add) -> None:
    add("c1", MIDDLE)
    add("c2", MIDDLE, runtimeConfig={"ips": ["10.0.0.5"]})
    assert add("c3", MIDDLE) == ["10.0.0.3/29"]


def test_another_request_of_a_served_attachment_is_refused(add: Add, reserved: Reserved) -> None:
    add("c1", MIDDLE)
    with pytest.raises(AddressError, match=r"holds 10\.0\.0\.2 already"):
        add("c1", MIDDLE, runtimeConfig={"ips": ["10.0.0.5"]})
    assert list(reserved()) == ["10.0.0.2"]


def test_a_failed_repeat_leaves_what_is_in_use(add: Add, reserved: Reserved) -> None:
    add("c1", DUAL)
    add("c2", DUAL)
    with pytest.raises(AddressError):
        add("c1", DUAL, runtimeConfig={"ips": ["fd00::3"]})
    assert list(reserved()) == ["10.0.0.2", "10.0.0.3", "fd00::2", "fd00::3"]


def test_a_failed_call_gives_back_what_it_took(add: Add, reserved: Reserved) -> None:
    add("c1", DUAL)
    add("c2", DUAL)
    before = reserved()
    with pytest.raises(AddressError):
        add("c3", DUAL)
    assert reserved() == before


def test_a_requested_address_of_somebody_else_names_the_holder(add: Add) -> None:
    add("c1", MIDDLE)
    with pytest.raises(AddressError, match=r"c1/eth0 holds it") as caught:
        add("c2", MIDDLE, runtimeConfig={"ips": ["10.0.0.2"]})
    assert caught.value.code == Code.ADDRESS_UNAVAILABLE


def test_addresses_outside_of_changed_ranges_do_not_count(add: Add) -> None:
    add("c1", MIDDLE)
    assert add("c1", {"ranges": [[{"subnet": "10.5.0.0/29"}]]}) == ["10.5.0.2/29"]


def test_a_lease_of_the_old_form_is_not_doubled(add: Add, directory: Path) -> None:
    directory.mkdir()
    (directory / "10.0.0.4").write_text("c1")
    with pytest.raises(AddressError, match=r"container c1 holds 10\.0\.0\.4"):
        add("c1", MIDDLE)


def test_dns_settings_come_from_the_file_named(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    result = opened(SMALL | {"resolvConf": str(tmp_path / "resolv.conf")}).add()
    assert result.dns.nameservers == ("192.0.2.1",)


def test_a_missing_resolv_conf_fails_before_anything_is_reserved(add: Add, directory: Path) -> None:
    with pytest.raises(NodeError, match="cannot read resolvConf /nonexistent"):
        add("c1", SMALL | {"resolvConf": "/nonexistent"})
    assert not directory.exists()


def test_networks_of_different_names_do_not_share_a_pool(add: Add) -> None:
    assert add("c1", SMALL) == add("c2", SMALL, name="other")


def test_a_huge_range_is_served_without_a_bitmap(add: Add, tmp_path: Path) -> None:
    section = {"ranges": [[{"subnet": "fd00::/64"}]]}
    assert [add(f"c{i}", section)[0] for i in range(3)] == [f"fd00::{i}/64" for i in (2, 3, 4)]
    assert (tmp_path / ".spanbridge/n.index").stat().st_size < 20_000


def test_a_huge_range_skips_what_is_taken_behind_the_cursor(add: Add, directory: Path) -> None:
    section = {"ranges": [[{"subnet": "fd00::/64"}]]}
    for i in range(600):
        add(f"c{i}", section)
    (directory / "last_reserved_ip.0").write_text("fd00::1")
    assert add("d", section) == ["fd00::25a/64"]
