# SPDX-License-Identifier: Apache-2.0
"""What host-local refuses before it touches anything, and where requests come from."""

from collections.abc import Callable
from pathlib import Path

import pytest

from spanbridge.base import log
from spanbridge.base.errors import CallError, ConfigError
from spanbridge.ipam import Ipam

MIDDLE = {"ranges": [[{"subnet": "10.0.0.0/29"}]]}
TWO = {"ranges": [[{"subnet": "10.0.0.0/29"}], [{"subnet": "fd00::/126"}]]}

Opened = Callable[..., Ipam]


def _ips(ipam: Ipam) -> list[str]:
    return [str(each.address) for each in ipam.add().ips]


def test_an_address_may_be_requested_by_the_runtime(opened: Opened) -> None:
    assert _ips(opened(MIDDLE, runtimeConfig={"ips": ["10.0.0.5"]})) == ["10.0.0.5/29"]


def test_an_address_may_be_requested_by_args(opened: Opened) -> None:
    assert _ips(opened(MIDDLE, args={"cni": {"ips": ["10.0.0.5"]}})) == ["10.0.0.5/29"]


def test_an_address_may_be_requested_by_cni_args(opened: Opened) -> None:
    assert _ips(opened(MIDDLE, {"args": "IP=10.0.0.5"})) == ["10.0.0.5/29"]


def test_requests_of_all_three_origins_add_up(opened: Opened) -> None:
    ranges = [[{"subnet": f"10.0.{i}.0/29"}] for i in range(3)]
    ipam = opened(
        {"ranges": ranges},
        {"args": "IP=10.0.0.3"},
        args={"cni": {"ips": ["10.0.1.3"]}},
        runtimeConfig={"ips": ["10.0.2.3"]},
    )
    assert _ips(ipam) == ["10.0.0.3/29", "10.0.1.3/29", "10.0.2.3/29"]


def test_the_same_request_from_two_origins_counts_once(opened: Opened) -> None:
    ipam = opened(MIDDLE, {"args": "IP=10.0.0.5"}, runtimeConfig={"ips": ["10.0.0.5"]})
    assert _ips(ipam) == ["10.0.0.5/29"]


def test_a_prefix_length_in_a_request_gives_way_to_the_subnet(opened: Opened) -> None:
    assert _ips(opened(MIDDLE, runtimeConfig={"ips": ["10.0.0.5/16"]})) == ["10.0.0.5/29"]


def test_ipv4_written_as_ipv6_is_ipv4(opened: Opened) -> None:
    assert _ips(opened(MIDDLE, runtimeConfig={"ips": ["::ffff:10.0.0.5"]})) == ["10.0.0.5/29"]


def test_a_set_without_request_chooses_itself(opened: Opened) -> None:
    assert _ips(opened(TWO, {"args": "IP=fd00::3"})) == ["10.0.0.2/29", "fd00::3/126"]


def test_the_runtime_may_bring_all_ranges(opened: Opened) -> None:
    ranges = [[{"subnet": "10.7.0.0/29"}]]
    assert _ips(opened({}, runtimeConfig={"ipRanges": ranges})) == ["10.7.0.2/29"]


def test_keys_of_the_main_plugin_in_cni_args_do_not_disturb(opened: Opened) -> None:
    assert _ips(opened(MIDDLE, {"args": "MAC=02:00:00:00:00:01"})) == ["10.0.0.2/29"]


REQUESTS: dict[str, tuple[str, str]] = {
    "outside": ("10.0.1.5", "outside of every range"),
    "gateway": ("10.0.0.1", "it is the gateway"),
    "network": ("10.0.0.0", "outside of every range"),
    "broadcast": ("10.0.0.7", "outside of every range"),
    "nonsense": ("ten", "no IP address"),
    "bad prefix": ("10.0.0.5/33", "no IP address"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_bad_request_of_the_runtime_is_refused_with_its_pointer(
    opened: Opened, case: str, tmp_path: Path
) -> None:
    address, cause = REQUESTS[case]
    with pytest.raises(ConfigError, match=cause) as caught:
        opened(MIDDLE, runtimeConfig={"ips": [address]})
    assert caught.value.pointer == "/runtimeConfig/ips/0"
    assert list(tmp_path.iterdir()) == []


def test_a_bad_request_of_args_is_refused_with_its_pointer(opened: Opened) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(MIDDLE, args={"cni": {"ips": ["10.0.0.2", "10.0.1.5"]}})
    assert caught.value.pointer == "/args/cni/ips/1"


@pytest.mark.parametrize("case", REQUESTS)
def test_a_bad_request_of_cni_args_is_a_fault_of_the_call(opened: Opened, case: str) -> None:
    address, cause = REQUESTS[case]
    with pytest.raises(CallError, match=cause):
        opened(MIDDLE, {"args": f"IP={address}"})


def test_a_list_in_cni_args_is_refused(opened: Opened) -> None:
    with pytest.raises(CallError, match="no IP address"):
        opened(MIDDLE, {"args": "IP=10.0.0.2,10.0.0.3"})


def test_an_unknown_key_in_cni_args_is_refused(opened: Opened) -> None:
    with pytest.raises(CallError, match="unknown GATEWAY"):
        opened(MIDDLE, {"args": "GATEWAY=10.0.0.1"})


def test_an_unknown_key_in_cni_args_may_be_ignored(opened: Opened) -> None:
    assert _ips(opened(MIDDLE, {"args": "IgnoreUnknown=1;K8S_POD_NAME=a"})) == ["10.0.0.2/29"]


def test_two_requests_for_one_set_are_refused(opened: Opened) -> None:
    with pytest.raises(ConfigError, match=r"already gives 10\.0\.0\.2"):
        opened(MIDDLE, runtimeConfig={"ips": ["10.0.0.2", "10.0.0.3"]})


def test_a_section_without_any_range_is_refused(opened: Opened) -> None:
    with pytest.raises(ConfigError, match="no range at all") as caught:
        opened({})
    assert caught.value.pointer == "/ipam/ranges"


def test_status_needs_no_range_where_the_runtime_brings_them(opened: Opened) -> None:
    opened({}, {"verb": "STATUS"}, capabilities={"ipRanges": True}).status()


def test_a_relative_data_dir_is_refused(opened: Opened) -> None:
    with pytest.raises(ConfigError, match="no absolute path"):
        opened(MIDDLE | {"dataDir": "cni"})


@pytest.mark.parametrize(
    ("section", "pointer"),
    [
        ({"dataDir": 5}, "/ipam/dataDir"),
        ({"resolvConf": []}, "/ipam/resolvConf"),
        ({"ranges": {}}, "/ipam/ranges"),
        ({"routes": [{"dst": "x"}]}, "/ipam/routes/0/dst"),
        ({"routes": [{"dst": "10.9.0.0/16", "gw": "fd00::1"}]}, "/ipam/routes/0/gw"),
    ],
)
def test_a_field_of_a_wrong_kind_is_refused_with_its_pointer(
    opened: Opened, section: dict[str, object], pointer: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(MIDDLE | section)
    assert caught.value.pointer == pointer


def test_a_mistyped_key_is_logged_with_the_nearest(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[dict[str, object]] = []
    monkeypatch.setattr(log, "sink", lambda _level, _event, fields: events.append(fields))
    opened(MIDDLE | {"rangesEnd": "10.0.0.9"})
    assert events == [{"key": "/ipam/rangesEnd", "nearest": "rangeEnd"}]
