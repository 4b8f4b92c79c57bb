# SPDX-License-Identifier: Apache-2.0
"""A lease on disk, and as the result of ADD."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import DecodeError
from spanbridge.base.names import MacAddress
from spanbridge.ipam.dhcp.conf import parse_dhcp_conf
from spanbridge.ipam.dhcp.lease import Lease, lease_result, parse_lease, render_lease
from spanbridge.ipam.dhcp.options import ClasslessRoute, Granted
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node
from spanbridge.model.result import render_result

GRANTED = Granted(
    address="192.168.77.25",
    prefix_length=24,
    server_id="192.168.77.1",
    routers=("192.168.77.1", "192.168.77.2"),
    routes=(ClasslessRoute("10.8.0.0/16", ""), ClasslessRoute("0.0.0.0/0", "192.168.77.9")),
    dns=("192.168.77.2", "192.168.77.3"),
    domain="lab.example",
    search=("eng.lab.example",),
    ntp=("192.168.77.4",),
    mtu=1400,
    lease_s=7200,
    t1_s=3600,
    t2_s=6300.5,
    text="hello",
)
LEASE = Lease(
    owner=Owner.of("bridge-net", "0123abcd", "migration0"),
    netns_path="/run/netns/pod",
    netns_identity=(4, 4026532177),
    boot_id="6d5f6c40-4c1e-4b1e-9e50-9f1c2a3b4c5d",
    mac=MacAddress("02:00:5e:10:00:01"),
    client_id=b"\0c1/net\xff",
    granted=GRANTED,
    acquired=1764000000.25,
    renewed=1764003600.5,
    t1=1764007200.0,
    t2=1764009900.0,
    expiry=1764010800.0,
    state="bound",
    section={"type": "dhcp", "priority": 7, "request": [{"option": "121"}]},
    args="K8S_POD_NAME=a",
    server_mac="02:00:00:00:00:fe",
)
FOREVER = replace(
    LEASE,
    granted=Granted(address="10.0.0.2", prefix_length=32, server_id="10.0.0.1"),
    t1=None,
    t2=None,
    expiry=None,
    netns_path="",
    args="",
    server_mac="",
)


def written(lease: Lease = LEASE) -> dict[str, object]:
    """Bring a lease to disk and back, without reading it."""
    found = json.loads(json.dumps(render_lease(lease)))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("lease", [LEASE, FOREVER], ids=["for two hours", "for ever"])
def test_a_lease_comes_back_from_json(lease: Lease) -> None:
    assert parse_lease(written(lease)) == lease


def test_the_form_on_disk_never_changes_within_its_version() -> None:
    found = written()

    assert found["version"] == 1
    assert found["netns"] == {"path": "/run/netns/pod", "device": 4, "inode": 4026532177}
    assert found["client_id"] == "0063312f6e6574ff"
    assert sorted(found) == [
        "acquired", "args", "boot_id", "client_id", "container", "expiry", "granted", "ifname",
        "mac", "netns", "network", "renewed", "section", "server_mac", "state", "t1", "t2",
        "version",
    ]  # fmt: skip


REQUIRED = sorted(set(written()) - {"t1", "t2", "expiry", "args", "server_mac"})


@pytest.mark.parametrize("key", REQUIRED)
@pytest.mark.parametrize("value", [None, [], True, 1.5, "\0"], ids=repr)
def test_a_lease_with_a_field_lost_or_of_another_kind_is_refused(key: str, value: object) -> None:
    damaged = written() | {key: value}
    if type(value) is float and key in {"acquired", "renewed"}:
        damaged[key] = -value
    if value == "\0" and key in {"boot_id", "state"}:
        damaged[key] = ""

    with pytest.raises(DecodeError, match="cannot read the lease") as caught:
        parse_lease(damaged)
    assert caught.value.pointer == f"/{key}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address", None), ("address", "::1"), ("address", "10.0.0.256"), ("address", "::10.0.0"),
        ("prefix_length", None), ("prefix_length", 0), ("prefix_length", 33), ("server_id", ""),
        ("routers", ["x"]), ("routers", "10.0.0.1"), ("routes", [1]), ("routes", [{}]),
        ("routes", [{"dst": "10.0.0.1/24"}]), ("routes", [{"dst": "fd00::/64"}]),
        ("routes", [{"dst": "10.0.0.0/24", "gw": "fd00::1"}]), ("dns", [None]), ("search", [1]),
        ("domain", 5), ("ntp", {}), ("mtu", 67), ("mtu", "1400"), ("lease_s", 0),
        ("lease_s", 2**32 - 1), ("t1_s", -1), ("t2_s", "x"), ("text", []),
    ],
    ids=str,
)  # fmt: skip
def test_a_lease_with_a_damaged_grant_is_refused(key: str, value: object) -> None:
    granted = written()["granted"]
    assert isinstance(granted, dict)

    with pytest.raises(DecodeError) as caught:
        parse_lease(written() | {"granted": granted | {key: value}})
    assert caught.value.pointer.startswith(f"/granted/{key}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2), ("container", "../x"), ("network", "a/b"), ("ifname", "a b"),
        ("ifname", "x" * 16), ("client_id", "0g"), ("client_id", "0"), ("mac", "02:00"),
        ("server_mac", "x"), ("t1", math.nan), ("t2", math.inf), ("expiry", 10**400),
        ("expiry", True), ("t1", "1"), ("netns", {"path": "/x", "device": -1, "inode": 1}),
        ("netns", {"path": "/x", "device": 1}),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_lease_with_an_absurd_field_is_refused(key: str, value: object) -> None:
    with pytest.raises(DecodeError, match="cannot read the lease"):
        parse_lease(written() | {key: value})


@pytest.mark.parametrize("raw", [None, [], "x", 1, 1.5, True], ids=repr)
def test_what_is_no_object_is_no_lease(raw: object) -> None:
    with pytest.raises(DecodeError, match="not an object"):
        parse_lease(raw)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(key=st.sampled_from(sorted(written())), value=JSON)
def test_any_field_may_be_anything(key: str, value: object) -> None:
    refused = ""
    try:
        found = parse_lease(written() | {key: value})
    except DecodeError as exc:
        refused = exc.pointer
    else:
        assert found.owner.ifname
    assert not refused or refused.startswith(f"/{key}")


def result(granted: Granted = GRANTED, **section: object) -> dict[str, object]:
    conf = parse_dhcp_conf(Node(section, "/ipam"))
    return render_result(lease_result(replace(LEASE, granted=granted), conf), "1.1.0")


def test_the_result_of_add_is_the_whole_grant() -> None:
    assert result(priority=77) == {
        "cniVersion": "1.1.0",
        "ips": [{"address": "192.168.77.25/24", "gateway": "192.168.77.1"}],
        "routes": [
            {"dst": "10.8.0.0/16", "mtu": 1400, "priority": 77, "scope": 253},
            {"dst": "0.0.0.0/0", "gw": "192.168.77.9", "mtu": 1400, "priority": 77},
        ],
        "dns": {
            "nameservers": ["192.168.77.2", "192.168.77.3"],
            "domain": "lab.example",
            "search": ["eng.lab.example"],
        },
    }


def test_the_result_without_extras_is_what_the_reference_answers() -> None:
    # Observed: CNI plugins 1.9.1, dhcp, with request 121 and 6 and priority 77.
    granted = Granted(
        address="192.168.77.22",
        prefix_length=24,
        server_id="192.168.77.1",
        routers=("192.168.77.1",),
        routes=(ClasslessRoute("10.9.0.0/16", "192.168.77.9"),),
    )

    assert result(granted, priority=77) == {
        "cniVersion": "1.1.0",
        "ips": [{"address": "192.168.77.22/24", "gateway": "192.168.77.1"}],
        "routes": [{"dst": "10.9.0.0/16", "gw": "192.168.77.9", "priority": 77}],
    }


def test_the_result_of_the_least_grant_is_an_address() -> None:
    granted = Granted(address="10.0.0.2", prefix_length=32, server_id="10.0.0.1")

    assert result(granted) == {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/32"}]}
