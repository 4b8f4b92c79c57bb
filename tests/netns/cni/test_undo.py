# SPDX-License-Identifier: Apache-2.0
"""An ADD that fails, at whatever step, leaves everything as it was."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from spanbridge.testing.dhcp import wait_until
from spanbridge.testing.modes import in_agent_mode, in_one_shot_mode
from spanbridge.testing.plugin import MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

if TYPE_CHECKING:
    from subprocess import Popen

MakeConf = Callable[..., Conf]
Shell = Callable[[Netns, str], str]
Dump = Callable[..., dict[str, Any]]
Delegate = Callable[[str], dict[str, str]]
Spawn = Callable[..., "Popen[bytes]"]

FULL: Final = {"isDefaultGateway": True, "ipMasq": True, "macspoofchk": True, "promiscMode": True}
WAIT_S: Final = 30


def _static(*cidrs: str, **fields: object) -> Conf:
    return {"type": "static", "addresses": [{"address": cidr} for cidr in cidrs]} | fields


NOT_LOCAL: Final = {"dst": "192.0.2.0/24", "gw": "203.0.113.1"}

STEPS: Final[dict[str, tuple[Conf, int]]] = {
    "address-management": ({"ipam": {"type": "fake"}}, 113),
    "no-gateway-to-choose": ({"ipam": _static("10.9.9.1/24")}, 7),
    "gateway-conflict": ({"ipam": _static("10.77.0.9/16")}, 103),
    "second-gateway-conflict": ({"ipam": _static("10.9.9.9/24", "10.77.0.9/16")}, 103),
    "route-to-nowhere": ({"ipam": _static("10.9.9.9/24", routes=[NOT_LOCAL])}, 101),
    "mtu-too-small-for-ipv6": ({"ipam": _static("fd00::9/64"), "mtu": 900}, 7),
}


@pytest.mark.parametrize("bridge", ["missing", "there", "in-use"])
@pytest.mark.parametrize(("fields", "code"), STEPS.values(), ids=STEPS.keys())
def test_a_failing_step_leaves_everything_as_it_was(
    cni: Cni,
    conf: MakeConf,
    node: Netns,
    netns: MakeNetns,
    sh: Shell,
    dump: Dump,
    delegate: Delegate,
    fields: Conf,
    code: int,
    bridge: str,
) -> None:
    pod, other = netns(), netns()
    if bridge != "missing":
        sh(node, "ip link add br0 up address 02:00:00:00:00:77 type bridge")
    if bridge == "in-use":
        cni.add(conf(ipam=_static("10.66.0.9/24"), **FULL), other, container="other")
    if code == 103:
        _conflict(sh, node)
    before = dump(node, pod, other)

    answer = cni.call("ADD", conf(**FULL | fields), pod, env=delegate("exit 1"))

    assert answer.code == code
    assert dump(node, pod, other) == before


def _conflict(sh: Shell, node: Netns) -> None:
    """Give the bridge, made if missing, an address that overlaps."""
    if "br0" not in sh(node, "ip link"):
        sh(node, "ip link add br0 up address 02:00:00:00:00:77 type bridge")
    sh(node, "ip addr add 10.77.5.5/24 dev br0")


def test_an_exhausted_pool_leaves_everything_as_it_was(
    cni: Cni, layer3: MakeConf, node: Netns, netns: MakeNetns, dump: Dump
) -> None:
    first, second = netns(), netns()
    conf = layer3("10.1.2.0/30", **FULL)
    cni.add(conf, first, container="first")
    before = dump(node, first, second)

    assert cni.call("ADD", conf, second, container="second").code == 111

    assert dump(node, first, second) == before


def test_a_second_range_that_is_exhausted_gives_the_first_address_back(
    cni: Cni, layer3: MakeConf, netns: MakeNetns, leases: Callable[[], dict[str, str]]
) -> None:
    conf = layer3("10.1.2.0/24", "10.1.3.0/30", **FULL)
    cni.add(conf, netns(), container="first")
    before = leases()

    assert cni.call("ADD", conf, netns(), container="second").code == 111

    assert leases() == before


def test_a_replaced_gateway_address_comes_back(
    cni: Cni, conf: MakeConf, node: Netns, pod: Netns, sh: Shell, dump: Dump
) -> None:
    _conflict(sh, node)
    before = dump(node, pod)
    ipam = _static("10.77.5.9/16", routes=[NOT_LOCAL])

    assert cni.call("ADD", conf(ipam=ipam, forceAddress=True, **FULL), pod).code == 101

    assert dump(node, pod) == before


def test_a_firewall_that_refuses_leaves_everything_as_it_was(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, sh: Shell, dump: Dump
) -> None:
    # A stranger's chain where our map belongs: the transaction is refused.
    sh(node, "nft add table inet spanbridge")
    sh(node, "nft add set inet spanbridge sources4 '{ type ether_addr; }'")
    before = dump(node, pod)

    assert cni.call("ADD", layer3(**FULL), pod).code == 104

    assert dump(node, pod) == before


@pytest.mark.parametrize("taken", ["address", "interface"])
def test_an_interface_that_exists_is_refused_and_stays(
    cni: Cni, layer3: MakeConf, node: Netns, pod: Netns, sh: Shell, dump: Dump, taken: str
) -> None:
    if taken == "interface":
        sh(pod, "ip link add eth0 type veth peer name other0")
    else:
        cni.add(layer3(**FULL), pod)
    before = dump(node, pod)

    assert cni.call("ADD", layer3(**FULL), pod).code == 102

    assert dump(node, pod) == before


# A signal meets the plugin's own process; what the shim's end does to the agent comes next.
@in_one_shot_mode
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("bridge", ["missing", "there"])
def test_a_signal_in_the_middle_leaves_everything_as_it_was(
    spawn: Spawn,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    sh: Shell,
    dump: Dump,
    delegate: Delegate,
    tmp_path: Path,
    number: signal.Signals,
    bridge: str,
) -> None:
    if bridge == "there":
        sh(node, "ip link add br0 up address 02:00:00:00:00:77 type bridge")
    before = dump(node, pod)
    env = delegate('if [ "$CNI_COMMAND" = ADD ]; then sleep 60; fi')
    process = spawn("ADD", conf(ipam={"type": "fake"}, **FULL), pod, **env)
    _wait_for(tmp_path / "verbs", "ADD")

    process.send_signal(number)
    stdout, _ = process.communicate(timeout=WAIT_S)

    assert process.returncode == 1
    assert number.name.encode() in stdout
    assert dump(node, pod) == before
    assert (tmp_path / "verbs").read_text().split() == ["ADD", "DEL"]


@in_agent_mode
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("bridge", ["missing", "there"])
def test_an_add_whose_shim_is_killed_leaves_everything_as_it_was(
    spawn: Spawn,
    conf: MakeConf,
    node: Netns,
    pod: Netns,
    sh: Shell,
    dump: Dump,
    delegate: Delegate,
    tmp_path: Path,
    number: signal.Signals,
    bridge: str,
) -> None:
    if bridge == "there":
        sh(node, "ip link add br0 up address 02:00:00:00:00:77 type bridge")
    before = dump(node, pod)
    env = delegate('if [ "$CNI_COMMAND" = ADD ]; then sleep 60; fi')
    process = spawn("ADD", conf(ipam={"type": "fake"}, **FULL), pod, **env)
    _wait_for(tmp_path / "verbs", "ADD")

    process.send_signal(number)

    assert process.communicate(timeout=WAIT_S)[0] == b""
    wait_until(lambda: dump(node, pod) == before, what="the undoing")
    assert (tmp_path / "verbs").read_text().split() == ["ADD", "DEL"]


def _wait_for(path: Path, words: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not path.exists() or words not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("bridge", ["missing", "there"])
def test_a_bridge_that_another_came_to_use_meanwhile_stays_as_that_one_wants_it(
    cni: Cni,
    spawn: Spawn,
    conf: MakeConf,
    node: Netns,
    netns: MakeNetns,
    delegate: Delegate,
    tmp_path: Path,
    bridge: str,
) -> None:
    if bridge == "there":
        node.run("ip", "link", "add", "br0", "type", "bridge")
    failing, other = netns(), netns()
    env = delegate('if [ "$CNI_COMMAND" = ADD ]; then sleep 60; fi')
    settings = {"promiscMode": True, "macspoofchk": True}
    hangs = conf(ipam={"type": "fake"}, **settings)
    process = spawn("ADD", hangs, failing, container="failing", **env)
    _wait_for(tmp_path / "verbs", "ADD")
    address = {"address": "10.1.2.9/24", "gateway": "10.1.2.1"}
    plain = conf(ipam={"type": "static", "addresses": [address]}, isGateway=True, **settings)
    result = cni.add(plain, other, container="other")

    process.terminate()
    process.communicate(timeout=WAIT_S)

    assert process.returncode != 0
    _wait_for(tmp_path / "verbs", "DEL")
    assert cni.check(plain, other, result, container="other").result is None
    assert other.ping("10.1.2.1")


# A signal meets the plugin's own process; what the shim's end does to the agent comes next.
@in_one_shot_mode
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_del_runs_on_when_a_signal_arrives(
    cni: Cni,
    spawn: Spawn,
    conf: MakeConf,
    pod: Netns,
    delegate: Delegate,
    tmp_path: Path,
    links: Callable[[Netns], dict[str, Any]],
    number: signal.Signals,
) -> None:
    fake = conf(ipam={"type": "fake"})
    answer = '{"cniVersion":"1.1.0","ips":[{"address":"10.1.2.9/24"}]}'
    cni.add(fake, pod, env=delegate(f"echo '{answer}'"))
    process = spawn("DEL", fake, pod, **delegate("sleep 0.3"))
    _wait_for(tmp_path / "verbs", "DEL")

    process.send_signal(number)

    assert process.wait(timeout=WAIT_S) == 0
    assert "eth0" not in links(pod)


@in_agent_mode
def test_del_runs_on_when_the_shim_is_killed(
    cni: Cni, spawn: Spawn, conf: MakeConf, pod: Netns, delegate: Delegate, tmp_path: Path
) -> None:
    fake = conf(ipam={"type": "fake"})
    answer = '{"cniVersion":"1.1.0","ips":[{"address":"10.1.2.9/24"}]}'
    cni.add(fake, pod, env=delegate(f"echo '{answer}'"))
    env = delegate(f"sleep 0.3; echo ended >> {tmp_path}/verbs")
    process = spawn("DEL", fake, pod, **env)
    _wait_for(tmp_path / "verbs", "DEL")

    process.kill()

    assert process.wait(timeout=WAIT_S) != 0
    _wait_for(tmp_path / "verbs", "ended")
