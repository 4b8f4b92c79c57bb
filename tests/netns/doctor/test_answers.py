# SPDX-License-Identifier: Apache-2.0
"""Who answers by ARP behind the uplink."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge.testing.dhcp import wait_until
from spanbridge.testing.plugin import MakeNetns, Netns

if TYPE_CHECKING:
    from .conftest import Ward
else:
    Ward = Any


@pytest.fixture
def rival(ward: Ward, netns: MakeNetns) -> Netns:
    """A second host behind the uplink: the router's side becomes a switch."""
    second = netns("rival")
    router = ward.router
    router.run("ip", "link", "add", "sw", "type", "bridge")
    router.run("ip", "link", "set", "sw", "up")
    router.run("ip", "addr", "del", "10.9.0.1/24", "dev", "eth0")
    router.run("ip", "link", "set", "eth0", "master", "sw")
    router.run("ip", "addr", "add", "10.9.0.1/24", "dev", "sw")
    router.run("ip", "link", "add", "to", "type", "veth", "peer", "eth0", "netns", second.name)
    router.run("ip", "link", "set", "to", "master", "sw", "up")
    second.run("ip", "addr", "add", "10.9.0.3/24", "dev", "eth0")
    second.run("ip", "link", "set", "eth0", "up")
    wait_until(lambda: second.ping("10.9.0.1"), what="the switch")
    return second


def mac(netns: Netns, device: str) -> str:
    (link,) = json.loads(netns.run("ip", "-j", "link", "show", "dev", device))
    return str(link["address"])


def test_a_gateway_on_two_hosts_is_named_until_one_gives_it_up(ward: Ward, rival: Netns) -> None:
    before = ward.doctor()
    rival.run("ip", "addr", "add", "10.9.0.1/32", "dev", "eth0")
    twice = ward.doctor()
    rival.run("ip", "addr", "del", "10.9.0.1/32", "dev", "eth0")
    after = ward.doctor()

    assert (before.code, after.code) == (0, 0)
    assert [each["code"] for each in twice.faults] == ["SBD14"]
    commands = [each for each in twice.faults[0]["commands"] if not each.startswith("#")]
    wanted = {mac(rival, "eth0"), mac(ward.router, "sw")}
    assert {each.split()[-1] for each in commands} == wanted
    assert twice.faults[0]["fixable"] is False


def test_another_host_with_a_pods_address_is_named(ward: Ward, rival: Netns) -> None:
    (address,) = ward.agent.ask("attachments")[0]["addresses"]
    rival.run("ip", "addr", "add", address, "dev", "eth0")
    said = ward.doctor()

    assert [each["code"] for each in said.faults] == ["SBD15"]
    assert f"{address.split('/')[0]} at {mac(rival, 'eth0')}" in said.faults[0]["message"]


def test_a_router_that_is_off_is_a_doubt(ward: Ward) -> None:
    ward.router.run("ip", "addr", "del", "10.9.0.1/24", "dev", "eth0")
    said = ward.doctor()
    (gateway,) = said.of("SBD14")

    assert (said.code, gateway["status"]) == (0, "warn")
    assert "nobody answers for 10.9.0.1" in gateway["message"]


@contextlib.contextmanager
def arps(netns: Netns, device: str) -> Iterator[list[str]]:
    """Capture ARP while the block runs; afterwards the list holds tcpdump's lines."""
    argv = ["ip", "netns", "exec", netns.name, "tcpdump", "-nel", "--immediate-mode"]
    lines: list[str] = []
    with subprocess.Popen(
        [*argv, "-Z", "root", "-i", device, "arp"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any("listening on" in line for line in process.stderr)
        try:
            yield lines
        finally:
            process.terminate()
            lines += [line for line in process.communicate()[0].splitlines() if line]


def test_a_question_claims_nothing_and_without_probes_none_is_asked(ward: Ward) -> None:
    with arps(ward.router, "eth0") as asked:
        ward.doctor()
    with arps(ward.router, "eth0") as silent:
        said = ward.doctor("--no-probe")

    assert sum("who-has 10.9.0.1 tell 0.0.0.0" in line for line in asked) == 3
    assert silent == []
    assert [each["message"] for each in said.of("SBD14")] == ["--no-probe"]
