# SPDX-License-Identifier: Apache-2.0
"""Against a real server, dnsmasq: what it and tcpdump say counts."""

import concurrent.futures
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge.base.errors import AddressError, Code, NodeError, RetryError
from spanbridge.testing.dhcp import Dnsmasq, StartDnsmasq, wait_until
from spanbridge.testing.plugin import AskTool, Netns, run

if TYPE_CHECKING:
    from .conftest import Keeper, MakePod, StartKeeper
else:
    Keeper = MakePod = StartKeeper = Any

StartServer = Callable[..., Dnsmasq]
Capture = Callable[..., Callable[[], list[str]]]

SERVER = "10.9.0.1"


@pytest.fixture
def server(lan: Netns, dhcp_server: StartDnsmasq) -> StartServer:
    """Starts dnsmasq on the pods' bridge."""

    def start(*options: str, first: str = "10.9.0.50", last: str = "10.9.0.250") -> Dnsmasq:
        return dhcp_server(lan, "br0", first=first, last=last, options=options)

    return start


def test_a_lease_is_what_the_server_has_written_down(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    dnsmasq, pod = server(), make_pod()
    lease = keeper.acquire(pod)
    assert dnsmasq.leases() == {pod.mac: lease.granted.address}
    assert (lease.granted.server_id, lease.granted.routers) == (SERVER, (SERVER,))
    assert lease.granted.lease_s == 120
    assert lease.expiry is not None
    assert abs(lease.expiry - time.time() - 120) < 5
    assert keeper.find() == lease
    assert len(keeper.journal()) == 1


def test_the_interface_is_set_up_and_its_address_is_left_to_the_caller(
    make_pod: MakePod, server: StartServer, keeper: Keeper, ip_json: AskTool
) -> None:
    server()
    pod = make_pod()
    keeper.acquire(pod)
    link = ip_json("-4", "addr", "show", "dev", "eth0", netns=pod.netns)
    assert link == [] or link[0]["addr_info"] == []
    assert "UP" in ip_json("link", "show", "dev", "eth0", netns=pod.netns)[0]["flags"]


def test_an_address_is_probed_before_and_announced_after(
    make_pod: MakePod, server: StartServer, keeper: Keeper, node: Netns, capture: Capture
) -> None:
    server()
    pod = make_pod()
    frames = capture(node, pod.port, "arp")
    lease = keeper.acquire(pod, probe="fast")
    address = lease.granted.address
    wait_until(lambda: len(frames()) >= 4, what="three probes and an announcement")
    asked = [line.split("who-has ")[1].split(",")[0] for line in frames() if "who-has" in line]
    assert asked[:4] == [f"{address} tell 0.0.0.0"] * 3 + [f"{address} tell {address}"]


def test_a_release_is_unicast_from_the_address_and_ends_the_lease_at_the_server(
    make_pod: MakePod, server: StartServer, keeper: Keeper, node: Netns, capture: Capture
) -> None:
    dnsmasq, pod = server(), make_pod()
    lease = keeper.acquire(pod)
    pod.add(lease)
    frames = capture(node, pod.port, "udp port 67")
    keeper.release()
    wait_until(lambda: dnsmasq.leases() == {}, what="the lease to end")
    assert pod.mac in dnsmasq.log("DHCPRELEASE")[0]
    wait_until(lambda: len(frames()) >= 2, what="the frame")
    assert f"{lease.granted.address}.68 > {SERVER}.67" in "".join(frames())
    assert "ff:ff:ff:ff:ff:ff" not in frames()[0]
    assert keeper.journal() == []
    assert keeper.find() is None


def test_a_release_is_sent_also_when_the_address_is_off_the_interface_already(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    dnsmasq, pod = server(), make_pod()
    keeper.acquire(pod)
    keeper.release()
    wait_until(lambda: dnsmasq.leases() == {}, what="the lease to end")
    keeper.release()  # of nothing


def test_a_repeated_acquire_is_answered_with_the_same_lease_at_once(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    dnsmasq, pod = server(), make_pod()
    first = keeper.acquire(pod)
    assert keeper.acquire(pod) == first
    assert len(dnsmasq.log("DHCPDISCOVER")) == 1


def test_concurrent_acquires_of_one_owner_share_one_exchange(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    dnsmasq, pod = server(), make_pod()
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        leases = list(pool.map(lambda _: keeper.acquire(pod, probe="fast"), range(5)))
    assert leases == [leases[0]] * 5
    assert len(dnsmasq.log("DHCPREQUEST")) == 1


def test_fifty_pods_at_once_get_fifty_addresses(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    dnsmasq, pods = server(), [make_pod() for _ in range(50)]
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        leases = list(
            pool.map(
                lambda pair: keeper.acquire(pair[1], f"c{pair[0]}", probe="fast"), enumerate(pods)
            )
        )
    given = {pod.mac: lease.granted.address for pod, lease in zip(pods, leases, strict=True)}
    assert len(set(given.values())) == 50
    assert dnsmasq.leases() == given
    assert len(keeper.journal()) == 50


def test_no_socket_stays_open_for_a_lease_that_waits_for_its_renewal(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    pod = make_pod()

    def sockets() -> list[str]:
        return pod.netns.run("ss", "-aHn", "--packet", "--udp").splitlines()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pending = pool.submit(keeper.acquire, pod, probe="fast")
        wait_until(lambda: len(sockets()) == 2, what="the sockets for DHCP and ARP")
        server()
        pending.result(10)
    wait_until(lambda: sockets() == [], what="the sockets to be closed")


def test_without_a_server_the_error_says_that_nobody_answered(
    make_pod: MakePod, keeper: Keeper
) -> None:
    pod = make_pod()
    with pytest.raises(AddressError, match=r"no DHCP server made an offer within 1\.5 s") as caught:
        keeper.acquire(pod, timeout=1.5)
    assert caught.value.code is Code.ADDRESS_UNAVAILABLE
    assert keeper.journal() == []
    assert keeper.leases.facts() == []


def test_an_exhausted_server_leaves_the_caller_without_a_lease(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    server(first="10.9.0.50", last="10.9.0.50")
    keeper.acquire(make_pod())
    with pytest.raises(AddressError, match="no DHCP server made an offer"):
        keeper.acquire(make_pod(), "c2", timeout=1.5)
    assert keeper.find("c2") is None


def test_a_caller_that_gives_up_ends_the_search(make_pod: MakePod, keeper: Keeper) -> None:
    began = time.monotonic()
    with pytest.raises(AddressError, match="before the caller gave up"):
        keeper.acquire(make_pod(), cancelled=lambda: time.monotonic() > began + 0.5)
    assert keeper.leases.facts() == []


def test_an_acquire_that_is_given_up_while_probing_leaves_no_lease_at_the_server(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    dnsmasq, pod = server(), make_pod()
    acknowledged = lambda: bool(dnsmasq.log("DHCPACK"))  # noqa: E731
    with pytest.raises(AddressError):
        keeper.acquire(pod, probe="rfc", cancelled=acknowledged)
    wait_until(lambda: bool(dnsmasq.log("DHCPRELEASE")), what="the release")
    assert dnsmasq.leases() == {}
    assert keeper.journal() == []


def test_a_release_ends_an_acquire_under_way(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    dnsmasq, pod = server(), make_pod()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pending = pool.submit(keeper.acquire, pod, probe="rfc")
        wait_until(lambda: bool(dnsmasq.log("DHCPACK")), what="the exchange")
        keeper.release()
        with pytest.raises(RetryError, match="it was released meanwhile"):
            pending.result(5)
    assert dnsmasq.leases() == {}


def test_an_agent_that_stops_leaves_used_leases_and_gives_others_back(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    dnsmasq, used, pending = server(), make_pod(), make_pod()
    lease = keeper.acquire(used)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(keeper.acquire, pending, "c2", probe="rfc")
        wait_until(lambda: len(dnsmasq.log("DHCPACK")) == 2, what="the exchange")
        keeper.on_loop(keeper.leases.close())
        with pytest.raises(RetryError, match="the agent stops"):
            waiting.result(5)
    assert dnsmasq.leases() == {used.mac: lease.granted.address}
    assert len(keeper.journal()) == 1
    with pytest.raises(RetryError):
        keeper.acquire(pending, "c2")


def test_gc_gives_back_the_leases_of_dead_attachments_of_one_network(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    dnsmasq = server()
    alive, dead = make_pod(), make_pod()
    lease = keeper.acquire(alive, "alive")
    keeper.acquire(dead, "dead")
    keeper.leases.collect("another", frozenset())
    assert len(dnsmasq.leases()) == 2
    keeper.leases.collect("net1", frozenset({("alive", "eth0")}))
    wait_until(lambda: dnsmasq.leases() == {alive.mac: lease.granted.address})
    assert keeper.find("dead") is None


def test_a_missing_interface_is_named(make_pod: MakePod, keeper: Keeper) -> None:
    pod = make_pod()
    run("ip", "-n", pod.netns.name, "link", "del", "eth0")
    with pytest.raises(NodeError, match="the sandbox has no such interface"):
        keeper.acquire(pod)


def test_a_server_that_broadcasts_is_understood(
    make_pod: MakePod, server: StartServer, keeper: Keeper, node: Netns, capture: Capture
) -> None:
    dnsmasq, pod = server("--dhcp-broadcast"), make_pod()
    frames = capture(node, pod.port, "udp port 68 and ether broadcast and src port 67")
    lease = keeper.acquire(pod, broadcast=True)
    assert dnsmasq.leases() == {pod.mac: lease.granted.address}
    wait_until(lambda: bool(frames()), what="a broadcast answer")
