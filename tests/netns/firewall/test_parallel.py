# SPDX-License-Identifier: Apache-2.0
"""Many processes and threads at the same time, on a node where nothing is yet."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from spanbridge import firewall
from spanbridge.base.names import IfName, MacAddress
from spanbridge.firewall import SpoofGuard
from spanbridge.model.addresses import parse_cidr
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import AskTool, Netns

PROCESSES: Final = 16

# Forks processes that wait for the end of a pipe, then ensure, observe and release.
CROWD: Final = """
import os, sys, traceback
from spanbridge import firewall
from spanbridge.base.names import IfName, MacAddress
from spanbridge.model.addresses import parse_cidr
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs

def live(number, times, keeps):
    host = NetNs.current()
    for each in range(times):
        name = f"c{number}-{each}"
        owner = Owner.of("blue", name, "eth0")
        address = parse_cidr(f"10.1.{number}.{each + 1}/16", "")
        guard = firewall.SpoofGuard(IfName(f"v{name}"), MacAddress("02:00:00:00:00:01"))
        entry = Masquerade(address.ip, address.network)
        firewall.ensure(host, owner, masquerade=(entry,), guard=guard)
        assert firewall.observe(host, owner).complete
        assert keeps or firewall.release(host, owner)

processes, times, keeps = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "keep"
start, go = os.pipe()
for number in range(processes):
    if os.fork() == 0:
        try:
            os.close(go)
            os.read(start, 1)
            live(number, times, keeps)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
os.close(go)
sys.exit(sum(os.wait()[1] != 0 for _ in range(processes)))
"""


def crowd(node: Netns, *, times: int, then: str) -> None:
    """Let all processes loose at once."""
    node.run(sys.executable, "-c", CROWD, str(PROCESSES), str(times), then)


def objects(ask: AskTool, node: Netns, kind: str) -> list[dict[str, Any]]:
    return [each[kind] for each in ask("list", "ruleset", netns=node) if kind in each]


def test_rules_are_made_once(node: Netns, nft_json: AskTool) -> None:
    crowd(node, times=1, then="keep")

    maps = {each["name"]: each.get("elem", []) for each in objects(nft_json, node, "map")}
    sets = {each["name"]: each.get("elem", []) for each in objects(nft_json, node, "set")}
    assert len(maps["sources4"]) == len(sets["guarded"]) == len(sets["bindings"]) == PROCESSES
    assert len(objects(nft_json, node, "rule")) == 4 + 2 + 2


def test_two_hundred_come_and_go_without_a_trace(node: Netns, nft_json: AskTool) -> None:
    crowd(node, times=13, then="release")

    assert nft_json("list", "ruleset", netns=node) == []


def test_threads_of_one_process_do_not_disturb_each_other(
    host: NetNs, node: Netns, nft_json: AskTool
) -> None:
    def come_and_go(number: int) -> bool:
        owner = Owner.of("blue", f"c{number}", "eth0")
        address = parse_cidr(f"10.1.2.{number + 1}/24", "")
        guard = SpoofGuard(IfName(f"veth{number}"), MacAddress("02:00:00:00:00:01"))
        entry = Masquerade(address.ip, address.network)
        firewall.ensure(host, owner, masquerade=(entry,), guard=guard)
        whole = firewall.observe(host, owner).complete
        return firewall.release(host, owner) and whole

    with ThreadPoolExecutor(PROCESSES) as pool:
        assert all(pool.map(come_and_go, range(200)))

    assert nft_json("list", "ruleset", netns=node) == []
