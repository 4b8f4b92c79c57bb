# SPDX-License-Identifier: Apache-2.0
"""What becomes of leases when the agent is killed, or the sandbox goes."""

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge.rtnl import NetNs
from spanbridge.testing.dhcp import Dnsmasq, ScriptedServer, StartDnsmasq, StartScripted, wait_until
from spanbridge.testing.plugin import Netns, run

if TYPE_CHECKING:
    from .conftest import Keeper, MakePod, Pod, StartKeeper
else:
    Keeper = MakePod = Pod = StartKeeper = Any

SHORT = {"lease_s": 8, "t1_s": 1, "t2_s": 4}


@pytest.fixture
def scripted(lan: Netns, scripted_dhcp: StartScripted) -> ScriptedServer:
    """The scripted server on the pods' bridge."""
    return scripted_dhcp(lan, "br0")


@pytest.fixture
def dnsmasq(lan: Netns, dhcp_server: StartDnsmasq) -> Dnsmasq:
    """Dnsmasq on the pods' bridge."""
    return dhcp_server(lan, "br0", first="10.9.0.50", last="10.9.0.60")


def edit(keeper: Keeper, **fields: Any) -> None:  # noqa: ANN401  # JSON
    """Change the lease in the one file of the journal."""
    path = keeper.journal()[0]
    document = json.loads(path.read_text())
    document["lease"] |= {key: value for key, value in fields.items() if key in document["lease"]}
    document |= {key: value for key, value in fields.items() if key in document}
    path.write_text(json.dumps(document))


def test_a_lease_is_known_again_and_nothing_is_asked_before_t1(
    make_pod: MakePod, scripted: ScriptedServer, start_keeper: StartKeeper
) -> None:
    first, pod = start_keeper(), make_pod()
    lease = first.acquire(pod)
    first.kill()
    second = start_keeper()
    assert second.find() == lease
    assert second.acquire(pod) == lease
    assert [each["kind"] for each in scripted.seen()] == ["discover", "selecting"]


def test_a_lease_is_renewed_by_the_next_agent_with_the_same_address(
    make_pod: MakePod, scripted: ScriptedServer, start_keeper: StartKeeper
) -> None:
    scripted.set(lease_s=16, t1_s=1, t2_s=12)
    first, pod = start_keeper(), make_pod()
    lease = first.acquire(pod)
    pod.add(lease)
    first.kill()
    time.sleep(1.2)
    second = start_keeper()
    seen = scripted.wait_for("renewing")
    assert seen["src_ip"] == lease.granted.address
    wait_until(lambda: second.held().renewed > lease.renewed, what="the renewal")
    assert second.held().acquired == lease.acquired
    assert second.changes == []


def test_a_lease_past_t2_is_rebound(
    make_pod: MakePod, scripted: ScriptedServer, start_keeper: StartKeeper
) -> None:
    scripted.set(lease_s=60, t1_s=1, t2_s=2)
    first, pod = start_keeper(), make_pod()
    pod.add(first.acquire(pod))
    first.kill()
    time.sleep(2)
    start_keeper()
    assert scripted.wait_for("rebinding")["src_ip"] == "10.9.0.10"
    assert scripted.seen("renewing") == []


def test_a_lease_of_another_boot_is_confirmed(
    make_pod: MakePod, scripted: ScriptedServer, start_keeper: StartKeeper
) -> None:
    first, pod = start_keeper(), make_pod()
    lease = first.acquire(pod)
    first.kill()
    edit(first, boot_id="0" * 32, requested_boot=9e9)
    second = start_keeper()
    seen = scripted.wait_for("rebooting")
    assert (seen["requested"], seen["ciaddr"]) == ("10.9.0.10", "0.0.0.0")  # noqa: S104
    wait_until(lambda: second.held().boot_id == lease.boot_id, what="the confirmation")


def test_an_expired_lease_is_taken_off_the_pod_and_sought_anew(
    make_pod: MakePod, scripted: ScriptedServer, start_keeper: StartKeeper
) -> None:
    first, pod = start_keeper(), make_pod()
    lease = first.acquire(pod)
    first.kill()
    edit(first, boot_id="0" * 32, renewed=lease.renewed - 3601, acquired=lease.acquired - 3601)
    second = start_keeper()
    wait_until(lambda: len(second.changes) == 2, what="loss and gain")
    assert second.changes == [("10.9.0.10", None), (None, "10.9.0.10")]
    assert len(scripted.seen("discover")) == 2
    assert second.held().renewed > lease.renewed


def test_a_lease_that_was_lost_before_the_kill_is_sought_anew(
    make_pod: MakePod, scripted: ScriptedServer, start_keeper: StartKeeper
) -> None:
    scripted.set(**SHORT)
    first, pod = start_keeper(), make_pod()
    pod.add(first.acquire(pod))
    scripted.set(nak=["renewing"], ignore=["discover"])
    wait_until(lambda: '"lost"' in first.journal()[0].read_text(), what="the refusal")
    first.kill()
    second = start_keeper()
    assert second.find() is None
    wait_until(lambda: second.changes == [("10.9.0.10", None)], what="the loss to be told again")
    scripted.set(ignore=[])
    wait_until(lambda: second.find() is not None, what="the new lease")


def test_the_lease_of_a_sandbox_that_went_meanwhile_is_released_through_the_agent(
    make_pod: MakePod, dnsmasq: Dnsmasq, start_keeper: StartKeeper, node: Netns
) -> None:
    first, pod = start_keeper(), make_pod()
    lease = first.acquire(pod)
    first.kill()
    run("ip", "netns", "del", pod.netns.name)
    second = start_keeper()
    assert [orphan for orphan, _ in second.orphans] == [lease]
    assert second.journal() == []
    assert second.find() is None
    send_on_bridge(node, second.orphans[0][1])
    wait_until(lambda: dnsmasq.leases() == {}, what="the lease to end")


def test_a_sandbox_that_goes_while_its_lease_is_renewed_ends_the_lease(
    make_pod: MakePod, scripted: ScriptedServer, keeper: Keeper
) -> None:
    scripted.set(**SHORT)
    pod = make_pod()
    lease = keeper.acquire(pod)
    run("ip", "netns", "del", pod.netns.name)
    wait_until(lambda: bool(keeper.orphans), what="the orphan")
    assert keeper.orphans[0][0].granted.address == lease.granted.address
    wait_until(lambda: keeper.journal() == [] and keeper.leases.facts() == [])


def test_an_interface_that_goes_ends_the_lease(
    make_pod: MakePod, scripted: ScriptedServer, keeper: Keeper
) -> None:
    scripted.set(**SHORT)
    pod = make_pod()
    keeper.acquire(pod)
    run("ip", "-n", pod.netns.name, "link", "del", "eth0")
    wait_until(lambda: bool(keeper.orphans), what="the orphan")


def test_a_release_without_the_interface_goes_through_the_agent(
    make_pod: MakePod, dnsmasq: Dnsmasq, keeper: Keeper, node: Netns
) -> None:
    pod = make_pod()
    keeper.acquire(pod)
    run("ip", "-n", pod.netns.name, "link", "del", "eth0")
    keeper.release()
    send_on_bridge(node, keeper.orphans[0][1])
    wait_until(lambda: dnsmasq.leases() == {}, what="the lease to end")
    assert keeper.journal() == []


def test_another_interface_of_the_same_owner_ends_the_former_lease(
    make_pod: MakePod, dnsmasq: Dnsmasq, keeper: Keeper
) -> None:
    former, pod = make_pod(), make_pod()
    keeper.acquire(former)
    lease = keeper.acquire(pod)
    assert pod.mac in dnsmasq.leases()
    assert dnsmasq.leases()[pod.mac] == lease.granted.address
    assert former.mac in dnsmasq.log("DHCPRELEASE")[0]


@pytest.mark.usefixtures("scripted")
def test_a_sandbox_is_not_kept_alive_by_its_lease(
    make_pod: MakePod, keeper: Keeper, node: Netns
) -> None:
    pod = make_pod()
    keeper.acquire(pod, probe="fast")
    run("ip", "netns", "del", pod.netns.name)
    ports = ("ip", "-n", node.name, "-br", "link", "show", "type", "veth")
    wait_until(lambda: pod.port not in run(*ports), what="the namespace and its veth to go")


@pytest.mark.usefixtures("scripted")
def test_a_damaged_file_costs_its_own_lease_only(
    make_pod: MakePod, start_keeper: StartKeeper
) -> None:
    first = start_keeper()
    first.acquire(make_pod(), "c1")
    first.acquire(make_pod(), "c2")
    first.kill()
    damaged = first.journal()[0]
    damaged.write_text(damaged.read_text()[:-20])
    second = start_keeper()
    assert len([each for each in ("c1", "c2") if second.find(each)]) == 1
    assert {path.suffix for path in second.journal()} == {".json", ".damaged"}


def send_on_bridge(node: Netns, frame: bytes) -> None:
    """Hand a frame to the node as if it came from a port: what the agent does for orphans."""
    import socket

    run("ip", "-n", node.name, "link", "add", "in0", "type", "veth", "peer", "name", "in1")
    run("ip", "-n", node.name, "link", "set", "in1", "master", "br0", "up")
    run("ip", "-n", node.name, "link", "set", "in0", "up")
    # Until then the bridge drops what comes in.
    port = ("bridge", "-n", node.name, "-j", "link", "show", "dev", "in1")
    wait_until(lambda: '"state":"forwarding"' in run(*port), what="the port to forward")

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("in0", 0))
            raw.send(frame)

    with NetNs.open(str(node.path)) as opened:
        opened.run(send)
