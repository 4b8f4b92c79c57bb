# SPDX-License-Identifier: Apache-2.0
"""What is asked by ARP before a node is judged."""

from dataclasses import replace

import pytest
from tests.unit.stretch.doctor.conftest import ACCESS, ATTACHMENT, WELL, conf, with_agent, with_link

from spanbridge.stretch.doctor import Question, list_questions


def test_the_gateway_and_the_pods_are_asked_for_with_the_tag_of_their_vlan() -> None:
    asked = list_questions(WELL)

    assert asked == (Question("eth1", 2, "10.88.0.1"), Question("eth1", 2, "10.88.0.50"))


def test_where_the_uplink_is_an_access_port_the_question_has_no_tag() -> None:
    asked = list_questions(with_link(WELL, "eth1", vlans=(ACCESS,)))

    assert {each.vlan for each in asked} == {0}


@pytest.mark.parametrize(
    "change",
    [{"carrier": False}, {"up": False}, {"vlans": ()}, {"master": ""}],
    ids=["no carrier", "down", "without the VLAN", "no port"],
)
def test_nothing_is_asked_where_it_cannot_get_out(change: dict[str, object]) -> None:
    assert list_questions(with_link(WELL, "eth1", **change)) == ()


@pytest.mark.parametrize(
    "ipam",
    [
        {"type": "host-local", "ranges": [[{"subnet": "10.7.0.0/24", "gateway": "10.7.0.1"}]]},
        {"type": "static", "addresses": [{"address": "10.7.0.5/24", "gateway": "10.7.0.1"}]},
        {"type": "whereabouts", "range": "10.7.0.0/24", "gateway": "10.7.0.1"},
    ],
    ids=lambda ipam: str(ipam["type"]),
)
def test_a_gateway_that_a_configuration_names_is_asked_for(ipam: dict[str, object]) -> None:
    state = with_agent(with_link(WELL, "br-mig.2", addresses=()), attachments=())

    assert list_questions(replace(state, confs=(conf(ipam=ipam),))) == (
        Question("eth1", 2, "10.7.0.1"),
    )


def test_neither_pods_that_are_gone_nor_those_of_another_node_are_asked_for() -> None:
    gone = replace(ATTACHMENT, stale="it is gone", gateways=())
    away = replace(ATTACHMENT, container_id="away", here=False, gateways=())
    asked = list_questions(with_agent(WELL, attachments=(gone, away)))

    assert [each.address for each in asked] == ["10.88.0.1"]


def test_so_many_addresses_are_asked_for_and_no_more() -> None:
    many = tuple(
        replace(ATTACHMENT, container_id=f"c{n}", addresses=(f"10.88.1.{n}/24",))
        for n in range(200)
    )

    assert len(list_questions(with_agent(WELL, attachments=many))) == 64
