# SPDX-License-Identifier: Apache-2.0
"""
What network managers are given to keep an uplink, held to golden files.

The real managers read the same texts in tests/peers/uplink and tests/vm/uplink. After a
change: ``SPANBRIDGE_GOLDEN=write pytest tests/unit/bridge``.
"""

import configparser
import os
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from spanbridge.bridge.uplink.managers import RENDERERS, Kept
from spanbridge.model.uplink import parse_wish

GOLDEN: Final = Path(__file__).parent / "golden"
MAC: Final = "52:4f:cd:e3:fa:de"

CASES: Final = {
    "vlan": Kept(parse_wish("ens2f0", "br-mig", ("2", "10-20"), 9000), MAC, "worker-1.example.com"),
    "default-vlan": Kept(parse_wish("ens2f0", "br-mig", ("1-3",), 0), MAC, "worker-1"),
    "no-vlan": Kept(parse_wish("ens2f0", "br_Mig", (), 0), MAC, "worker-1"),
    "bridge-of-others": Kept(parse_wish("ens2f0", "br-mig", ("2",), 0), "", "worker-1"),
}


@pytest.mark.parametrize("manager", RENDERERS)
@pytest.mark.parametrize("case", CASES)
def test_the_texts_are_as_they_were_read_and_found_good(manager: str, case: str) -> None:
    texts = RENDERERS[manager](CASES[case])
    whole = "".join(f"==> {each.path} {each.mode:o}\n{each.content}\n" for each in texts)
    path = GOLDEN / f"{manager}-{case}.txt"
    if os.environ.get("SPANBRIDGE_GOLDEN") == "write":
        path.write_text(whole)

    assert whole == path.read_text()


@pytest.mark.parametrize("manager", ["networkd", "networkmanager"])
@pytest.mark.parametrize("case", CASES)
def test_a_bridge_of_somebody_else_is_left_to_them(manager: str, case: str) -> None:
    kept = CASES[case]
    names = [Path(each.path).name for each in RENDERERS[manager](kept)]

    assert any(kept.wish.device in name for name in names)
    assert any(kept.wish.bridge in name for name in names) == bool(kept.mac)


def _policy(case: str) -> Any:  # noqa: ANN401  # YAML
    (text,) = RENDERERS["nmstate"](CASES[case])
    return yaml.safe_load(text.content)


@pytest.mark.parametrize("case", CASES)
def test_the_policy_is_a_policy_for_this_node(case: str) -> None:
    policy, kept = _policy(case), CASES[case]

    assert (policy["apiVersion"], policy["kind"]) == (
        "nmstate.io/v1",
        "NodeNetworkConfigurationPolicy",
    )
    assert policy["metadata"]["name"].islower()
    assert "_" not in policy["metadata"]["name"]
    assert policy["spec"]["nodeSelector"] == {"kubernetes.io/hostname": kept.node}
    card, bridge = policy["spec"]["desiredState"]["interfaces"]
    assert (card["name"], bridge["name"]) == (kept.wish.device, kept.wish.bridge)
    assert bridge["bridge"]["port"][0]["name"] == kept.wish.device


def test_the_policy_makes_a_trunk_of_exactly_the_vlans() -> None:
    bridge = _policy("vlan")["spec"]["desiredState"]["interfaces"][1]

    assert bridge["bridge"]["options"]["vlan-default-pvid"] == 0
    assert bridge["bridge"]["port"][0]["vlan"] == {
        "mode": "trunk",
        "trunk-tags": [{"id": 2}, {"id-range": {"min": 10, "max": 20}}],
    }


def test_the_policy_for_the_default_vlan_alone_makes_an_access_port() -> None:
    kept = Kept(parse_wish("eth1", "br0", ("1",), 0), MAC, "node")
    policy = yaml.safe_load(RENDERERS["nmstate"](kept)[0].content)
    bridge = policy["spec"]["desiredState"]["interfaces"][1]["bridge"]

    assert bridge["port"][0]["vlan"] == {"mode": "access", "tag": 1}


def test_the_policy_without_vlans_keeps_nmstate_from_making_a_trunk() -> None:
    bridge = _policy("no-vlan")["spec"]["desiredState"]["interfaces"][1]

    assert bridge["bridge"]["port"][0]["vlan"] == {}


def test_keyfiles_of_one_uplink_have_the_same_uuids_each_time_and_others_elsewhere() -> None:
    def uuids(case: str) -> list[str]:
        found = []
        for text in RENDERERS["networkmanager"](CASES[case]):
            keyfile = configparser.ConfigParser()
            keyfile.read_string(text.content)
            found.append(keyfile["connection"]["uuid"])
        return found

    assert uuids("vlan") == uuids("default-vlan")
    assert len(set(uuids("vlan"))) == 2
    assert not set(uuids("no-vlan")[:1]) & set(uuids("vlan"))
