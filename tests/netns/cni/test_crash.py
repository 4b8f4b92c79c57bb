# SPDX-License-Identifier: Apache-2.0
"""
A call that is killed at any moment: the same call, or the next, makes everything right.

The moments are spread over the time that a whole call takes on this machine. What is
killed is the program that the runtime started: the plugin itself, or the shim, whose
end tells the agent that the caller gave up. Killed agents are in `tests/netns/agent`.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import pytest

from spanbridge.testing.plugin import AskRules, Netns
from spanbridge.testing.runtime import Cni, Conf

if TYPE_CHECKING:
    from subprocess import Popen

MakeConf = Callable[..., Conf]
Links = Callable[[Netns], dict[str, Any]]
Spawn = Callable[..., "Popen[bytes]"]

STEPS: Final = 40
FULL: Final = {"isDefaultGateway": True, "ipMasq": True, "macspoofchk": True}
SUBNETS: Final = ("10.1.2.0/24", "fd00::/64")


@pytest.fixture
def nothing_left(
    links: Links, leases: Callable[[], dict[str, str]], rules_left: AskRules, node: Netns
) -> Callable[[], bool]:
    """Tells whether the node is as before the only attachment, the bridge left aside."""

    def look() -> bool:
        rules = rules_left(node)
        return not set(links(node)) - {"lo", "br0"} and not leases() and not rules

    return look


def _duration(cni: Cni, verb: str, conf: Conf, pod: Netns) -> float:
    started = time.monotonic()
    assert cni.call(verb, conf, pod).status == 0
    return time.monotonic() - started


def _quickest_add(cni: Cni, conf: Conf, pod: Netns) -> float:
    """Measure ADD a few times: the first one is slow, and so is one on a busy machine."""
    measured = []
    for _ in range(3):
        measured.append(_duration(cni, "ADD", conf, pod))
        cni.delete(conf, pod)
    return min(measured)


def _kill_after(process: "Popen[bytes]", delay_s: float) -> bool:
    """Kill; True when the call had not ended by itself."""
    time.sleep(delay_s)
    process.kill()
    process.communicate()
    return process.returncode != 0


def _finished(links: Links, node: Netns) -> bool:
    """Tell whether an ADD that was killed had nothing more to do than to print its result."""
    return any(" ready" in each.get("ifalias", "") for each in links(node).values())


@pytest.mark.timeout(180)
def test_add_after_a_killed_add_succeeds_and_del_leaves_nothing(
    cni: Cni,
    spawn: Spawn,
    layer3: MakeConf,
    node: Netns,
    pod: Netns,
    links: Links,
    nothing_left: Callable[[], bool],
) -> None:
    conf = layer3(*SUBNETS, **FULL)
    whole = _quickest_add(cni, conf, pod)
    killed = 0
    for step in range(STEPS):
        delay_s = whole * step / STEPS
        killed += _kill_after(spawn("ADD", conf, pod), delay_s)
        answer = cni.call("ADD", conf, pod)
        if answer.status:
            assert answer.code == 102
            assert _finished(links, node), f"killed after {delay_s:.3f} s"
        else:
            assert cni.check(conf, pod, answer.result).result is None, f"after {delay_s:.3f} s"
        cni.delete(conf, pod)
        assert nothing_left(), f"killed after {delay_s:.3f} s"
    assert killed > STEPS / 4, "the moments lay behind the end of most calls"


@pytest.mark.timeout(180)
def test_del_or_gc_after_a_killed_add_leaves_nothing(
    cni: Cni, spawn: Spawn, layer3: MakeConf, pod: Netns, nothing_left: Callable[[], bool]
) -> None:
    conf = layer3(*SUBNETS, **FULL)
    whole = _duration(cni, "ADD", conf, pod)
    cni.delete(conf, pod)
    for step in range(0, STEPS, 2):
        delay_s = whole * step / STEPS
        _kill_after(spawn("ADD", conf, pod), delay_s)
        if step % 4:
            cni.delete(conf, pod)
        else:
            assert cni.call("GC", conf | {"cni.dev/valid-attachments": []}).result is None
        assert nothing_left(), f"killed after {delay_s:.3f} s"


@pytest.mark.timeout(180)
def test_del_after_a_killed_del_leaves_nothing(
    cni: Cni, spawn: Spawn, layer3: MakeConf, pod: Netns, nothing_left: Callable[[], bool]
) -> None:
    conf = layer3(*SUBNETS, **FULL)
    cni.add(conf, pod)
    whole = _duration(cni, "DEL", conf, pod)
    for step in range(0, STEPS, 2):
        delay_s = whole * step / STEPS
        cni.add(conf, pod)
        _kill_after(spawn("DEL", conf, pod), delay_s)
        cni.delete(conf, pod)
        assert nothing_left(), f"killed after {delay_s:.3f} s"
