# SPDX-License-Identifier: Apache-2.0
"""Renewal, rebinding, refusal and expiry, with leases of seconds and a scripted server."""

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from spanbridge.testing.dhcp import ScriptedServer, StartScripted, wait_until
from spanbridge.testing.plugin import AskTool, Netns, run

if TYPE_CHECKING:
    from .conftest import Keeper, MakePod, Pod
else:
    Keeper = MakePod = Pod = Any

Capture = Callable[..., Callable[[], list[str]]]
StartServer = Callable[..., ScriptedServer]

SERVER, BROADCAST = "10.9.0.1", "255.255.255.255"
SHORT = {"lease_s": 8, "t1_s": 1, "t2_s": 4}


@pytest.fixture
def server(lan: Netns, scripted_dhcp: StartScripted) -> StartServer:
    """Starts the scripted server on the pods' bridge."""
    return lambda **settings: scripted_dhcp(lan, "br0", **settings)


def bound(keeper: Keeper, pod: Pod, **section: Any) -> str:  # noqa: ANN401
    """Lease an address and put it on, as ADD does."""
    lease = keeper.acquire(pod, **section)
    pod.add(lease)
    return str(lease.granted.address)


def test_a_renewal_is_unicast_from_the_leased_address(
    make_pod: MakePod, server: StartServer, keeper: Keeper, node: Netns, capture: Capture
) -> None:
    scripted, pod = server(**SHORT), make_pod()
    address = bound(keeper, pod)
    frames = capture(node, pod.port, "udp port 67")
    before = keeper.held().renewed
    seen = scripted.wait_for("renewing", count=2)
    assert (seen["src_ip"], seen["dst_ip"], seen["ciaddr"]) == (address, SERVER, address)
    assert seen["dst_mac"] != "ff:ff:ff:ff:ff:ff"
    assert (seen["requested"], seen["server_id"]) == ("", "")
    wait_until(lambda: f"{address}.68 > {SERVER}.67" in "".join(frames()))
    assert keeper.held().renewed >= before + 1
    assert keeper.changes == []


def test_an_unanswered_renewal_becomes_a_broadcast_from_the_leased_address_at_t2(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted, pod = server(**SHORT, ignore=["renewing"]), make_pod()
    address = bound(keeper, pod)
    seen = scripted.wait_for("rebinding")
    assert (seen["src_ip"], seen["dst_ip"], seen["ciaddr"]) == (address, BROADCAST, address)
    assert seen["dst_mac"] == "ff:ff:ff:ff:ff:ff"
    selecting, renewals = scripted.seen("selecting")[0], scripted.seen("renewing")
    assert 3.9 < seen["time"] - selecting["time"] < 5
    assert len(renewals) >= 2
    wait_until(lambda: keeper.leases.counters()["renewals"] == 1, what="the rebind to work")
    assert keeper.changes == []


def test_another_server_may_answer_a_rebind(
    make_pod: MakePod, server: StartServer, keeper: Keeper, node: Netns
) -> None:
    scripted, pod = server(**SHORT, ignore=["renewing"]), make_pod()
    bound(keeper, pod)
    run("ip", "-n", node.name, "addr", "add", "10.9.0.2/24", "dev", "br0")
    scripted.set(server_id="10.9.0.2")
    wait_until(lambda: keeper.held().granted.server_id == "10.9.0.2")


def test_another_server_may_not_answer_a_renewal(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted, pod = server(**SHORT), make_pod()
    bound(keeper, pod)
    scripted.set(server_id="10.9.0.2")
    scripted.wait_for("renewing", count=2)
    assert keeper.held().granted.server_id == SERVER


def test_a_refusal_takes_the_address_away_and_another_is_leased(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted, pod = server(**SHORT), make_pod()
    address = bound(keeper, pod)
    scripted.set(nak=["renewing"], pool=["10.9.0.77"], text="you moved")
    scripted.wait_for("renewing")
    wait_until(lambda: len(keeper.changes) == 1, what="the loss")
    assert keeper.changes == [(address, None)]
    wait_until(lambda: len(keeper.changes) == 2, what="the new lease")
    assert keeper.changes[1][0] is None
    assert keeper.leases.counters()["naks"] == 1


def test_a_server_that_refuses_every_time_is_asked_less_and_less(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted = server(nak=["selecting"], text="not here")
    with pytest.raises(Exception, match=r"server 10\.9\.0\.1 refused it \(NAK\): 'not here'"):
        keeper.acquire(make_pod(), timeout=6)
    times = [each["time"] for each in scripted.seen("discover")]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(gaps) == 2  # about 1 and 2 s; the next one would be 4
    assert gaps[1] > 1.5 * gaps[0]


def test_without_a_server_the_address_goes_when_the_lease_ends(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted, pod = server(lease_s=4, t1_s=1, t2_s=2), make_pod()
    address = bound(keeper, pod)
    scripted.set(ignore=["discover", "renewing", "rebinding"])
    wait_until(lambda: bool(keeper.changes), what="the expiry")
    late = time.time() - (scripted.seen("selecting")[0]["time"] + 4)
    assert keeper.changes == [(address, None)]
    assert -0.1 < late < 1
    assert keeper.find() is None
    assert keeper.leases.counters()["expiries"] == 1
    scripted.wait_for("discover", count=2)
    scripted.set(ignore=[])
    wait_until(lambda: keeper.changes[1:] == [(None, address)], what="the new lease")


def test_an_address_that_the_server_changes_is_told(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted, pod = server(**SHORT), make_pod()
    address = bound(keeper, pod, probe="fast")
    scripted.set(move_to="10.9.0.88")
    wait_until(lambda: bool(keeper.changes), what="the change")
    assert keeper.changes == [(address, "10.9.0.88")]


def test_a_router_that_the_server_changes_is_told(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted, pod = server(**SHORT), make_pod()
    address = bound(keeper, pod)
    scripted.set(router="10.9.0.254")
    wait_until(lambda: bool(keeper.changes), what="the change")
    assert keeper.changes == [(address, address)]
    assert keeper.held().granted.routers == ("10.9.0.254",)


def test_a_lost_discover_is_repeated_after_a_second(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted, pod = server(ignore=["discover"]), make_pod()
    with pytest.raises(Exception, match="no DHCP server"):
        keeper.acquire(pod, timeout=6)
    times = [each["time"] for each in scripted.seen("discover")]
    # After one second, then two; a busy machine moves each by some tenths.
    assert len(times) == 3
    assert times[1] - times[0] > 0.5
    assert times[2] - times[1] > 1.2
    assert len({each["xid"] for each in scripted.seen("discover")}) == 1


def test_an_abandoned_request_is_taken_back(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted, pod = server(ignore=["selecting"]), make_pod()
    with pytest.raises(Exception, match=r"server 10\.9\.0\.1 offered 10\.9\.0\.10 but did not"):
        keeper.acquire(pod, timeout=1.5)
    seen = scripted.wait_for("release")
    assert (seen["src_ip"], seen["dst_ip"], seen["ciaddr"]) == ("10.9.0.10", SERVER, "10.9.0.10")
    assert seen["server_id"] == SERVER
    assert scripted.seen("selecting")
    assert keeper.journal() == []


def test_an_address_that_another_host_has_is_declined(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted, other, pod = server(), make_pod(), make_pod()
    other_ns = other.netns.name
    run("ip", "-n", other_ns, "addr", "add", "10.9.0.10/24", "dev", "eth0")
    run("ip", "-n", other_ns, "link", "set", "eth0", "up")
    lease = keeper.acquire(pod, probe="fast")
    assert lease.granted.address == "10.9.0.11"
    declined = scripted.wait_for("decline")
    assert (declined["requested"], declined["server_id"]) == ("10.9.0.10", SERVER)
    assert (declined["ciaddr"], declined["dst_ip"]) == ("0.0.0.0", BROADCAST)  # noqa: S104
    assert keeper.leases.counters()["declines"] == 1


def test_every_message_has_the_same_client_identifier(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted, pod = server(**SHORT, ignore=["renewing"]), make_pod()
    bound(keeper, pod)
    scripted.wait_for("rebinding")
    keeper.release()
    scripted.wait_for("release")
    assert {each["client_id"] for each in scripted.seen()} == {(b"\0c1/net1/eth0").hex()}


def test_ten_thousand_malformed_frames_do_not_keep_a_pod_from_its_address(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    server(malformed=10_000)
    lease = keeper.acquire(make_pod(), timeout=15)
    assert lease.granted.address == "10.9.0.10"
    assert keeper.leases.counters()["malformed"] > 1000


def test_a_link_that_goes_down_while_an_address_is_sought_is_set_up_again(
    make_pod: MakePod, server: StartServer, keeper: Keeper
) -> None:
    scripted, pod = server(ignore=["discover"]), make_pod()
    down: list[str] = []

    def cut() -> bool:
        if not down and scripted.seen("discover"):
            down.append(run("ip", "-n", pod.netns.name, "link", "set", "eth0", "down"))
            scripted.set(ignore=[])
        return False

    assert keeper.acquire(pod, cancelled=cut).granted.address == "10.9.0.10"
    assert down == [""]


def test_a_link_that_is_down_at_t1_stays_so_and_is_renewed_when_it_is_up_again(
    make_pod: MakePod, server: StartServer, keeper: Keeper, ip_json: AskTool
) -> None:
    scripted, pod = server(lease_s=12, t1_s=2, t2_s=9), make_pod()
    bound(keeper, pod)
    run("ip", "-n", pod.netns.name, "link", "set", "eth0", "down")
    wait_until(lambda: keeper.leases.facts()[0]["state"] == "renewing", what="T1")
    wait_until(lambda: keeper.leases.counters()["renew_failures"] > 0, what="a failure")
    assert "UP" not in ip_json("link", "show", "dev", "eth0", netns=pod.netns)[0]["flags"]
    run("ip", "-n", pod.netns.name, "link", "set", "eth0", "up")
    wait_until(lambda: keeper.leases.counters()["renewals"] == 1, what="the renewal")
    assert scripted.seen("rebinding") == []
    assert keeper.changes == []


def test_what_a_human_is_shown(make_pod: MakePod, server: StartServer, keeper: Keeper) -> None:
    server(lease_s=100, t1_s=40, t2_s=80)
    keeper.acquire(make_pod())
    facts = keeper.leases.facts()[0]
    shown = {key: facts[key] for key in ("network", "containerId", "ifname", "state", "server")}
    owner = {"network": "net1", "containerId": "c1", "ifname": "eth0"}
    assert shown == owner | {"state": "bound", "server": SERVER}
    assert facts["address"] == "10.9.0.10/24"
    times = ("renewInSeconds", "rebindInSeconds", "expiresInSeconds")
    assert [round(float(str(facts[key]))) for key in times] == [40, 80, 100]
