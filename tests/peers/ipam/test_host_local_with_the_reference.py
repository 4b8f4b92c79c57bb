# SPDX-License-Identifier: Apache-2.0
"""One directory, two plugins: ours continues what the reference wrote, and the other way round."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

POOL = {"ranges": [[{"subnet": "10.0.0.0/28"}], [{"subnet": "fd00::/124"}]]}

Call = Callable[..., dict[str, Any] | None]
Files = Callable[[str], dict[str, bytes]]


def _addresses(answer: dict[str, Any] | None) -> list[str]:
    assert answer is not None
    return [each["address"] for each in answer["ips"]]


@pytest.fixture(params=["theirs first", "ours first"])
def pair(theirs: Call, ours: Call, request: pytest.FixtureRequest) -> tuple[Call, Call]:
    """The plugin before and the plugin after the change."""
    return (theirs, ours) if request.param == "theirs first" else (ours, theirs)


def test_the_round_goes_on_where_the_other_stopped(pair: tuple[Call, Call]) -> None:
    before, after = pair
    before("ADD", POOL, "c1")
    before("ADD", POOL, "c2")
    before("DEL", POOL, "c1")
    assert _addresses(after("ADD", POOL, "c3")) == ["10.0.0.4/28", "fd00::4/124"]


def test_what_the_other_reserved_is_released(pair: tuple[Call, Call], files: Files) -> None:
    before, after = pair
    before("ADD", POOL, "c1")
    before("ADD", POOL, "c1", ifname="net1")
    after("DEL", POOL, "c1")
    assert set(files("shared")) == {
        "10.0.0.3", "fd00::3", "last_reserved_ip.0", "last_reserved_ip.1",
    }  # fmt: skip


def test_what_the_other_reserved_is_not_given_again(pair: tuple[Call, Call]) -> None:
    before, after = pair
    small = {"ranges": [[{"subnet": "10.0.0.0/30"}]]}
    before("ADD", small, "c1")
    assert after("ADD", small, "c2") is None


def test_a_requested_address_that_the_other_reserved_is_refused(pair: tuple[Call, Call]) -> None:
    before, after = pair
    before("ADD", POOL, "c1", args="IP=10.0.0.9")
    assert after("ADD", POOL, "c2", args="IP=10.0.0.9") is None


def test_turns_of_both_never_meet(pair: tuple[Call, Call]) -> None:
    section = {"ranges": [[{"subnet": "10.0.0.0/27"}]]}
    given = [_addresses(pair[i % 2]("ADD", section, f"c{i}"))[0] for i in range(29)]
    assert given == [f"10.0.0.{i}/27" for i in range(2, 31)]
    assert pair[1]("ADD", section, "late") is None


def test_both_at_once_never_meet(theirs: Call, ours: Call) -> None:
    section = {"ranges": [[{"subnet": "10.0.0.0/24"}]]}
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit((ours, theirs)[i % 2], "ADD", section, f"c{i}") for i in range(120)]
        given = [_addresses(each.result())[0] for each in calls]
    assert len(set(given)) == 120


def test_the_files_of_both_are_the_same(theirs: Call, ours: Call, files: Files) -> None:
    for i in range(3):
        theirs("ADD", POOL, f"c{i}", data_dir="theirs")
        ours("ADD", POOL, f"c{i}", data_dir="ours")
    assert files("theirs") == files("ours")


RANGE = {"subnet": "10.1.2.0/24"}
ROUTES = [
    {"dst": "0.0.0.0/0"},
    {"dst": "10.9.0.0/16", "gw": "10.1.2.9"},
    {"dst": "fd01::/64"},
]
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one set": ({"ranges": [[RANGE]]}, {}),
    "single range": (RANGE | {"rangeStart": "10.1.2.20", "rangeEnd": "10.1.2.30"}, {}),
    "both forms": (RANGE | {"ranges": [[{"subnet": "fd00::/64"}]]}, {}),
    "keys in other case": ({"Ranges": [[{"Subnet": "10.1.2.0/24", "RANGESTART": "10.1.2.9"}]]}, {}),
    "smallest": ({"subnet": "10.1.2.0/30"}, {}),
    "smallest v6": ({"subnet": "fd00::/126"}, {}),
    "gateway": ({"ranges": [[RANGE | {"gateway": "10.1.2.254"}]]}, {}),
    "gateway inside": ({"ranges": [[RANGE | {"gateway": "10.1.2.2"}]]}, {}),
    "gateway outside": ({"ranges": [[RANGE | {"gateway": "192.0.2.1"}]]}, {}),
    "gateway empty": ({"ranges": [[RANGE | {"gateway": ""}]]}, {}),
    "dual": ({"ranges": [[RANGE], [{"subnet": "fd00::/64"}]]}, {}),
    "v6 first": ({"ranges": [[{"subnet": "fd00::/64"}], [RANGE]]}, {}),
    "two ranges": ({"ranges": [[{"subnet": "10.1.2.0/30"}, {"subnet": "10.1.3.0/30"}]]}, {}),
    "routes": ({"ranges": [[RANGE]], "routes": ROUTES}, {}),
    "version 0.3.1": ({"ranges": [[RANGE]]}, {"cniVersion": "0.3.1"}),
    "version 0.4.0": ({"ranges": [[RANGE]]}, {"cniVersion": "0.4.0"}),
    "CNI_ARGS": ({"ranges": [[RANGE]]}, {"args": "IP=10.1.2.77"}),
    "CNI_ARGS with length": ({"ranges": [[RANGE]]}, {"args": "IP=10.1.2.77/8"}),
    "runtime": ({"ranges": [[RANGE]]}, {"runtimeConfig": {"ips": ["10.1.2.78"]}}),
    "runtime mapped": ({"ranges": [[RANGE]]}, {"runtimeConfig": {"ips": ["::ffff:10.1.2.78"]}}),
    "runtime ranges": (
        {"ranges": [[RANGE]]}, {"runtimeConfig": {"ipRanges": [[{"subnet": "10.7.0.0/24"}]]}},
    ),
    "refused: outside": ({"ranges": [[RANGE]]}, {"runtimeConfig": {"ips": ["10.1.3.1"]}}),
    "refused: gateway": ({"ranges": [[RANGE]]}, {"runtimeConfig": {"ips": ["10.1.2.1"]}}),
    "refused: no range": ({}, {}),
    "refused: host bits": ({"subnet": "10.1.2.3/24"}, {}),
    "refused: too small": ({"subnet": "10.1.2.0/31"}, {}),
    "refused: start outside": (RANGE | {"rangeStart": "10.1.3.5"}, {}),
    "refused: end before start": (RANGE | {"rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.8"}, {}),
    "refused: overlap": ({"ranges": [[RANGE], [RANGE]]}, {}),
    "refused: mixed set": ({"ranges": [[RANGE, {"subnet": "fd00::/64"}]]}, {}),
    "refused: empty set": ({"ranges": [[]]}, {}),
    "refused: unknown argument": ({"ranges": [[RANGE]]}, {"args": "FOO=1"}),
    "refused: resolvConf": ({"ranges": [[RANGE]], "resolvConf": "/nonexistent"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_both_answer_the_same_three_times(theirs: Call, ours: Call, case: str) -> None:
    section, more = CASES[case]
    for owner in ("c1", "c2", "c3"):
        expected = theirs("ADD", section, owner, data_dir="theirs", **more)
        assert ours("ADD", section, owner, data_dir="ours", **more) == expected
        assert (expected is None) >= case.startswith("refused")


def test_both_read_the_same_resolv_conf(theirs: Call, ours: Call, tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# c\nnameserver 192.0.2.1\ndomain a\ndomain b\nsearch c d\noptions e\n;f g\n")
    section = POOL | {"resolvConf": str(path)}
    expected = theirs("ADD", section, "c1", data_dir="theirs")
    assert ours("ADD", section, "c1", data_dir="ours") == expected


STATIC: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "address": ({"addresses": [{"address": "10.1.2.3/24"}]}, {}),
    "gateway": ({"addresses": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1"}]}, {}),
    "dual": ({"addresses": [{"address": "fd00::3/64"}, {"address": "10.1.2.3/24"}]}, {}),
    "routes and dns": (
        {"addresses": [{"address": "10.1.2.3/24"}], "routes": ROUTES,
         "dns": {"nameservers": ["192.0.2.1"], "domain": "d", "search": ["s"], "options": ["o"]}},
        {},
    ),
    "CNI_ARGS": (
        {"addresses": [{"address": "10.1.2.3/24"}]},
        {"args": "IP=10.2.2.3/24,fd00::3/64;GATEWAY=10.2.2.1,fd00::1"},
    ),
    "runtime": (
        {"addresses": [{"address": "10.1.2.3/24"}]}, {"runtimeConfig": {"ips": ["10.3.2.3/24"]}},
    ),
    "args": ({}, {"runtimeConfig": {"ips": ["10.3.2.3/24"]}}),
    "version 0.4.0": ({"addresses": [{"address": "10.1.2.3/24"}]}, {"cniVersion": "0.4.0"}),
    "refused: no prefix": ({"addresses": [{"address": "10.1.2.3"}]}, {}),
    "refused: bad CNI_ARGS": ({}, {"args": "IP=10.1.2.3"}),
    "refused: bad gateway": ({"addresses": [{"address": "10.1.2.3/24", "gateway": "x"}]}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", STATIC)
def test_both_static_plugins_answer_the_same(theirs: Call, ours: Call, case: str) -> None:
    section, more = STATIC[case]
    section = {"type": "static"} | section
    expected = theirs("ADD", section, "c1", **more)
    assert ours("ADD", section, "c1", **more) == expected
    assert (expected is None) == case.startswith("refused")
