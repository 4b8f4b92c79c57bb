# SPDX-License-Identifier: Apache-2.0
"""Many calls at once on one node."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from spanbridge.testing.modes import AGENT, ONESHOT
from spanbridge.testing.plugin import AskRules, MakeMany, Netns
from spanbridge.testing.runtime import Answer, Cni, Conf

MakeConf = Callable[..., Conf]
Links = Callable[[Netns], dict[str, Any]]
Leases = Callable[[], dict[str, str]]

PODS: Final = {ONESHOT: 60, AGENT: 200}
"""How many, by mode: each call of the one-shot program starts a Python."""

AT_ONCE: Final = 16
FULL: Final = {"isGateway": True, "ipMasq": True, "macspoofchk": True}


def _all(cni: Cni, verb: str, conf: Conf, pods: Sequence[Netns]) -> list[Answer]:
    """Call a verb for every pod, so many at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda pod: cni.call(verb, conf, pod, container=pod.name), pods))


@pytest.mark.timeout(300)
def test_many_pods_come_and_go_16_at_a_time_and_nothing_is_left(
    cni: Cni,
    cni_mode: str,
    layer3: MakeConf,
    node: Netns,
    many_netns: MakeMany,
    links: Links,
    leases: Leases,
    elements: Callable[[Netns], list[str]],
    rules_left: AskRules,
) -> None:
    conf, number = layer3("10.1.0.0/22", **FULL), PODS[cni_mode]
    sandboxes = many_netns(number)
    results = [each.result for each in _all(cni, "ADD", conf, sandboxes)]
    assert len({result["ips"][0]["address"] for result in results}) == number
    assert len(leases()) == number
    assert len(elements(node)) == number * 4 + 1, "and one of the gateway's"

    assert [each.result for each in _all(cni, "DEL", conf, sandboxes)] == [None] * number

    assert set(links(node)) == {"lo", "br0"}
    assert leases() == {}
    assert rules_left(node) == []


@pytest.mark.timeout(120)
def test_the_first_pods_of_a_node_may_come_at_once(
    cni: Cni,
    layer3: MakeConf,
    node: Netns,
    many_netns: MakeMany,
    links: Links,
    addresses: Callable[[Netns, str], list[str]],
) -> None:
    conf, sandboxes = layer3(mtu=1400, promiscMode=True, **FULL), many_netns(AT_ONCE)

    results = [each.result for each in _all(cni, "ADD", conf, sandboxes)]

    assert {result["interfaces"][0]["mac"] for result in results} == {links(node)["br0"]["address"]}
    assert addresses(node, "br0") == ["10.1.2.1/24"]
    assert sum(each.get("master") == "br0" for each in links(node).values()) == AT_ONCE


@pytest.mark.timeout(120)
def test_failing_and_succeeding_calls_at_once_do_not_disturb_each_other(
    cni: Cni,
    layer3: MakeConf,
    conf: MakeConf,
    node: Netns,
    many_netns: MakeMany,
    leases: Leases,
    links: Links,
) -> None:
    sandboxes = many_netns(AT_ONCE)
    good = layer3(**FULL)
    # Its route cannot be made: it fails as late as can be, and undoes itself.
    route = {"dst": "192.0.2.0/24", "gw": "203.0.113.1"}
    bad = conf(
        ipam={"type": "static", "addresses": [{"address": "10.1.2.250/24"}], "routes": [route]},
        **FULL,
    )

    def add(number: int) -> Answer:
        pod = sandboxes[number]
        return cni.call("ADD", bad if number % 2 else good, pod, container=pod.name)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(add, range(AT_ONCE)))

    assert [answer.status for answer in answers] == [0, 1] * (AT_ONCE // 2)
    for number in range(0, AT_ONCE, 2):
        pod = sandboxes[number]
        assert cni.check(good, pod, answers[number].result, container=pod.name).status == 0
    assert len(leases()) == AT_ONCE // 2
    assert len(links(node)) == 2 + AT_ONCE // 2
