# SPDX-License-Identifier: Apache-2.0
"""STATUS tells whether an ADD would find what it needs, and changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanbridge.testing.plugin import Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
Shell = Callable[[Netns, str], str]
Dump = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    "fields", [{}, {"ipMasq": True, "macspoofchk": True}], ids=["plain", "firewall"]
)
def test_a_node_where_add_would_pass_is_ready_and_stays_as_it_is(
    cni: Cni, layer3: MakeConf, node: Netns, dump: Dump, fields: Conf
) -> None:
    before = dump(node)

    assert cni.call("STATUS", layer3(isGateway=True, **fields)).result is None

    assert dump(node) == before


def test_a_node_with_attachments_is_ready(cni: Cni, layer3: MakeConf, pod: Netns) -> None:
    conf = layer3(isGateway=True)
    cni.add(conf, pod)

    assert cni.call("STATUS", conf).result is None


def test_a_layer_2_network_needs_no_ipam(cni: Cni, conf: MakeConf) -> None:
    assert cni.call("STATUS", conf()).result is None


def test_a_link_in_the_bridges_place_is_reported(
    cni: Cni, conf: MakeConf, node: Netns, sh: Shell
) -> None:
    sh(node, "ip link add br0 type veth")

    error = cni.call("STATUS", conf()).error

    assert error["code"] == 50
    assert "br0" in error["msg"]
    assert "veth" in error["msg"]


def test_a_bridge_that_does_not_filter_vlans_is_reported(
    cni: Cni, conf: MakeConf, node: Netns, sh: Shell
) -> None:
    sh(node, "ip link add br0 type bridge")

    error = cni.call("STATUS", conf(vlan=2)).error

    assert error["code"] == 50
    assert "vlan_filtering 1" in error["details"]


def test_an_exhausted_pool_is_reported(cni: Cni, layer3: MakeConf, pod: Netns) -> None:
    conf = layer3("10.1.2.0/30", isGateway=True)
    cni.add(conf, pod)

    assert cni.call("STATUS", conf).code == 50


def test_an_ipam_plugin_that_is_missing_is_reported(cni: Cni, conf: MakeConf) -> None:
    error = cni.call("STATUS", conf(ipam={"type": "nowhere"})).error

    assert error["code"] == 50
    assert "nowhere" in error["msg"]


@pytest.mark.parametrize(("told", "expected"), [(50, 50), (51, 51), (99, 50)])
def test_what_the_ipam_plugin_says_is_passed_on(
    cni: Cni,
    conf: MakeConf,
    delegate: Callable[[str], dict[str, str]],
    told: int,
    expected: int,
) -> None:
    env = delegate(f"""echo '{{"code": {told}, "msg": "pool is dry"}}'; exit 1""")

    answer = cni.call("STATUS", conf(ipam={"type": "fake"}), env=env)

    assert answer.code == expected
    assert "pool is dry" in answer.error["msg"]


def test_a_data_directory_that_is_a_file_is_reported(
    cni: Cni, layer3: MakeConf, lease_dir: Path
) -> None:
    lease_dir.write_text("")

    assert cni.call("STATUS", layer3()).code == 50


def test_a_faulty_configuration_is_reported_as_such(cni: Cni, layer3: MakeConf) -> None:
    assert cni.call("STATUS", layer3(vlan=9999)).code == 7


@pytest.mark.parametrize("old", ["0.3.1", "0.4.0", "1.0.0"])
def test_status_is_not_in_older_versions(cni: Cni, layer3: MakeConf, old: str) -> None:
    assert cni.call("STATUS", layer3(cniVersion=old)).code == 1


@pytest.mark.parametrize("version_asked", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_version_echoes_and_lists_what_is_spoken(
    cni: Cni, conf: MakeConf, version_asked: str
) -> None:
    answer = cni.call("VERSION", conf(cniVersion=version_asked)).result

    assert answer["cniVersion"] == version_asked
    assert answer["supportedVersions"] == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def test_unknown_verbs_are_refused(cni: Cni, conf: MakeConf) -> None:
    assert cni.call("PURGE", conf()).code == 4
