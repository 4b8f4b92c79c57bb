# SPDX-License-Identifier: Apache-2.0
"""
What `explain` says, held to golden files.

After a change of the wording: ``SPANBRIDGE_GOLDEN=write pytest tests/unit/report``, then
read the difference with an engineer's eye before it is committed.
"""

import json
import os
import re
from pathlib import Path

import pytest

from spanbridge.cni.explain import explain
from spanbridge.kube.documents import parse_documents
from spanbridge.report.explain import WIDTH, Explanation, join_texts, render_json

GOLDEN = Path(__file__).parent / "golden"
INPUTS = {path.name.split(".")[0]: path for path in sorted(GOLDEN.glob("*.input.*"))}
CASE = pytest.mark.parametrize("case", INPUTS)


def explained(case: str) -> list[Explanation]:
    name = INPUTS[case].name.replace(".input", "")
    return [
        explain(one.root, one.origin) for one in parse_documents(INPUTS[case].read_text(), name)
    ]


def compare(path: Path, text: str) -> None:
    if os.environ.get("SPANBRIDGE_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def text_of(**fields: object) -> str:
    base = {"cniVersion": "1.0.0", "name": "net", "type": "bridge"} | fields
    return " ".join(
        join_texts([explain(one.root, "") for one in parse_documents(json.dumps(base), "")]).split()
    )


def test_no_golden_case_is_lost() -> None:
    assert set(INPUTS) == {
        "documentation", "host-local", "trunk", "everything", "conflist", "nad", "layer2", "static",
        "uplink",
    }  # fmt: skip


@CASE
def test_the_text_is_as_it_was_read_and_found_good(case: str) -> None:
    compare(GOLDEN / f"{case}.txt", join_texts(explained(case)))


@CASE
def test_the_json_is_as_it_was_read_and_found_good(case: str) -> None:
    rendered = [render_json(one) for one in explained(case)]

    compare(GOLDEN / f"{case}.json", json.dumps(rendered, indent=2) + "\n")


@CASE
def test_no_line_is_wider_than_a_terminal_or_ends_in_blanks(case: str) -> None:
    lines = join_texts(explained(case)).splitlines()

    assert max(len(line) for line in lines) <= WIDTH == 100
    assert all(line == line.rstrip() for line in lines)


@CASE
def test_the_boxes_of_the_drawing_are_closed(case: str) -> None:
    text = join_texts(explained(case))
    corners = [line.rindex("┐") for line in text.splitlines() if "┐" in line]
    bottoms = [line.rindex("┘") for line in text.splitlines() if "┘" in line and "├" not in line]

    assert corners == bottoms


@pytest.mark.parametrize("case", ["documentation", "host-local", "everything", "nad"])
def test_a_gateway_is_said_to_be_on_every_node(case: str) -> None:
    text = " ".join(join_texts(explained(case)).split())

    assert "the same address on EVERY node" in text
    assert re.search('remove "is(Default)?Gateway" there', text)
    assert all(_gateway(each)["onEveryNode"] for each in map(render_json, explained(case)))


def _gateway(rendered: dict[str, object]) -> dict[str, object]:
    gateway = rendered["gateway"]
    assert isinstance(gateway, dict)
    return gateway


def test_without_a_gateway_nothing_is_said_about_every_nodes_address() -> None:
    assert "EVERY" not in text_of(ipam={"type": "host-local", "subnet": "10.1.0.0/24"})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, 'cni0, the default, as "bridge" is not given'),
        ({"vlan": 2}, "without VLAN filtering it is refused"),
        ({"vlan": 2}, "bridge vlan add dev UPLINK vid 2"),
        ({"vlanTrunk": [{"minID": 5, "maxID": 9}]}, "bridge vlan add dev UPLINK vid 5-9"),
        ({"vlanTrunk": [{"id": 5}]}, "VLAN 1 leaves untagged"),
        ({"vlan": 1}, "VLAN 1 leaves untagged"),
        ({"hairpinMode": True}, "hairpinMode"),
        ({"portIsolation": True}, "no other isolated port"),
        ({"macspoofchk": True}, "only with its own source MAC"),
        ({"promiscMode": True}, "set promiscuous"),
        ({"disableContainerInterface": True}, "left down"),
        ({"isGateway": True}, 'isGateway has no effect without "ipam"'),
        ({"ipMasq": True}, 'ipMasq has no effect without "ipam"'),
        ({"ipMasqBackend": "iptables"}, "always done with nftables"),
        ({"isGatway": True}, "/isGatway is unknown and ignored: did you mean isGateway?"),
        ({"runtimeConfig": {"mac": "02:00:5e:10:00:01"}}, "MAC 02:00:5e:10:00:01"),
        ({"mtu": 9000}, "MTU 9000"),
        ({"ipam": {"type": "dhcp"}, "isDefaultGateway": True}, "a default route via the gateway"),
        ({"ipam": {"type": "dhcp"}}, "those that dhcp answers"),
        ({"ipam": {"type": "dhcp"}, "isGateway": True}, "stay on the node: pods here reach"),
        (
            {"ipam": {"type": "dhcp"}, "isGateway": True, "gatewayScope": "network"},
            "every node answers for it on the whole network (gatewayScope network)",
        ),
    ],
    ids=repr,
)
def test_what_a_key_does_is_said(fields: dict[str, object], said: str) -> None:
    assert said in text_of(**fields)
    assert said not in text_of(bridge="br0")


def test_an_unknown_key_of_the_ipam_section_is_said_too() -> None:
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24", "rangeStrat": "10.1.0.5"}]]}

    assert "/ipam/ranges/0/0/rangeStrat is unknown" in text_of(ipam=ipam)


def test_commands_are_never_broken_over_lines() -> None:
    trunk = [{"id": vid} for vid in range(2, 4000, 40)]
    base = {"cniVersion": "1.0.0", "name": "net", "vlanTrunk": trunk}
    found = [explain(one.root, "") for one in parse_documents(json.dumps(base), "")]
    lines = [line.strip() for line in join_texts(found).splitlines()]

    assert max(map(len, lines)) <= WIDTH
    assert [f"bridge vlan add dev UPLINK vid {each['id']}" for each in trunk] == [
        line for line in lines if line.startswith("bridge vlan")
    ]
