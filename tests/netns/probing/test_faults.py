# SPDX-License-Identifier: Apache-2.0
"""Each thing that is really broken is named first by the verdict."""

import dataclasses
import ipaddress
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from spanbridge.lab.prober import observe_scene
from spanbridge.model.observations import Role
from spanbridge.model.verdict import Diagnosis, Verdict
from spanbridge.probing.throughput import Bounds
from spanbridge.stretch.verify import verify
from spanbridge.testing.fleet import Fleet, stop
from spanbridge.testing.plugin import MakeNetns, run

EAST, EAST2, WEST, WEST2 = (
    *("east/virt-handler-1", "east/virt-handler-2"),
    *("west/virt-handler-1", "west/virt-handler-2"),
)

pytestmark = pytest.mark.timeout(60)


def _first(verdict: Verdict, code: str) -> Diagnosis:
    assert not verdict.passed
    assert verdict.diagnoses[0].code == code, [each.message for each in verdict.diagnoses]
    return verdict.diagnoses[0]


def _filter(fleet: Fleet, name: str, hook: str, rule: str) -> None:
    """Let a pod drop what a rule of nft fits."""
    fleet.pods[name].netns.run("nft", "add table inet broken")
    chain = f"{{ type filter hook {hook} priority 0; policy accept; }}"
    fleet.pods[name].netns.run("nft", f"add chain inet broken chosen {chain}")
    fleet.pods[name].netns.run("nft", f"add rule inet broken chosen {rule} drop")


def _readdress(fleet: Fleet, name: str, address: str) -> None:
    fleet.pods[name].ip("address", "flush", "dev", "migration0", "scope", "global")
    fleet.pods[name].ip("address", "add", address, "dev", "migration0")


def test_an_address_of_two_clusters(fleet: Fleet) -> None:
    _readdress(fleet, EAST, "10.88.2.1/16")
    found = _first(fleet.verify(), "SBV24")
    assert set(found.sites) == {"east/east-1", "west/west-1"}


def test_an_address_of_two_pods_of_a_cluster(fleet: Fleet) -> None:
    _readdress(fleet, EAST, "10.88.1.2/16")
    assert set(_first(fleet.verify(), "SBV25").sites) == {"east/east-1", "east/east-2"}


def test_a_pod_with_the_address_of_the_gateway(fleet: Fleet) -> None:
    _readdress(fleet, WEST, "10.88.0.1/16")
    assert _first(fleet.verify(), "SBV26").sites == ("west/west-1",)


def _add_host(fleet: Fleet, netns: MakeNetns, address: str) -> str:
    """Connect a host that is no pod; its MAC address."""
    host, port = netns("host"), f"h{len(fleet.switch.run('ls', '/sys/class/net').split())}"
    words = f"link add {port} mtu 9000 type veth peer eth0 mtu 9000 netns {host.name}"
    run("ip", "-n", fleet.switch.name, *words.split())
    run("ip", "-n", fleet.switch.name, "link", "set", port, "master", "br0", "up")
    run("ip", "-n", host.name, "address", "add", address, "dev", "eth0")
    run("ip", "-n", host.name, "link", "set", "eth0", "up")
    return host.run("cat", "/sys/class/net/eth0/address").strip()


def test_a_stranger_with_an_address_of_a_pod(fleet: Fleet, netns: MakeNetns) -> None:
    mac = _add_host(fleet, netns, "10.88.1.2/16")
    found = _first(fleet.verify(), "SBV27")
    assert found.sites == ("east/east-2",)
    assert mac in found.message


def test_a_gateway_that_is_one_machine_is_fine(fleet: Fleet, netns: MakeNetns) -> None:
    mac = _add_host(fleet, netns, "10.88.0.1/16")
    verdict = fleet.verify()
    assert verdict.passed
    asked = [each for each in verdict.observations.claims if each.address == "10.88.0.1"]
    assert {each.macs for each in asked} == {(mac,)}


def test_a_gateway_that_two_machines_have(fleet: Fleet, netns: MakeNetns) -> None:
    macs = {_add_host(fleet, netns, "10.88.0.1/16") for _ in range(2)}
    found = _first(fleet.verify(), "SBV28")
    assert all(mac in found.message for mac in macs)


def test_a_filter_in_one_direction(fleet: Fleet) -> None:
    _filter(fleet, EAST, "output", "ip daddr 10.88.2.1")
    found = _first(fleet.verify(), "SBV14")
    assert (EAST, WEST) in found.pairs


def test_what_leaves_no_bridge_port_is_cut_off(fleet: Fleet) -> None:
    fleet.switch.run("ip", "link", "set", fleet.pods[WEST2].port, "down")
    found = _first(fleet.verify(), "SBV10")
    assert found.sites == ("west/west-2",)


def test_a_small_mtu_in_the_middle(fleet: Fleet) -> None:
    port = fleet.pods[WEST2].port
    fleet.switch.run("ip", "link", "set", port, "mtu", "1500")
    fleet.switch.run("ip", "link", "set", "br0", "mtu", "9000")
    found = _first(fleet.verify(), "SBV42")
    assert found.sites == ("west/west-2",)
    assert "1500 bytes" in found.message


@pytest.mark.parametrize("mtu", [1500, 1423, 8999])
def test_a_small_mtu_of_a_pod_is_found_to_the_byte(fleet: Fleet, mtu: int) -> None:
    fleet.pods[EAST2].ip("link", "set", "migration0", "mtu", str(mtu))
    verdict = fleet.verify()
    found = _first(verdict, "SBV40")
    assert found.sites == ("east/east-2",)
    probes = {each.pair: each for each in verdict.observations.probes}
    sent = {probe.path_mtu for pair, probe in probes.items() if pair[0] == EAST2}
    came = {probe.path_mtu for pair, probe in probes.items() if pair[1] == EAST2}
    assert {size.passed for size in sent if size is not None} == {mtu}
    # A veth takes in four bytes more than it may send.
    most = 1500 if mtu == 1500 else min(mtu + 4, 9000)
    assert {size.passed for size in came if size is not None} == {most}


def _add_eth0(fleet: Fleet, netns: MakeNetns) -> None:
    """Connect a pod to a pod network, where nobody is."""
    pod, other = fleet.pods[EAST], netns("outside")
    pod.ip(*f"link add eth0 up type veth peer eth0 netns {other.name}".split())
    run("ip", "-n", other.name, "link", "set", "eth0", "up")


def test_a_route_through_another_device(fleet: Fleet, netns: MakeNetns) -> None:
    pod = fleet.pods[EAST]
    _add_eth0(fleet, netns)
    pod.ip("address", "add", "10.128.0.9/24", "dev", "eth0")
    pod.ip("route", "add", "10.88.2.0/24", "dev", "eth0")
    found = _first(fleet.verify(), "SBV30")
    assert found.sites == ("east/east-1",)
    assert "eth0" in found.message


def test_frames_of_the_network_on_another_device(fleet: Fleet, netns: MakeNetns) -> None:
    pod = fleet.pods[EAST]
    _add_eth0(fleet, netns)
    pod.ip("address", "add", "10.128.0.9/24", "dev", "eth0")
    pod.ip("route", "add", "10.88.2.0/24", "via", "10.128.0.1", "src", "10.88.1.1")
    pod.ip("neigh", "add", "10.128.0.1", "lladdr", "02:00:00:00:00:01", "dev", "eth0")
    strays = fleet.observe().strays
    assert {(each.site, each.device) for each in strays} == {("east/east-1", "eth0")}
    assert strays[0].example.startswith("10.88.1.1 > 10.88.2.")


def test_a_closed_port(fleet: Fleet) -> None:
    stop(fleet.pods[WEST])
    found = _first(fleet.verify(), "SBV50")
    assert found.sites == ("west/west-1",)
    assert "8443" in found.message


def test_a_sync_leader_that_does_not_listen(fleet: Fleet) -> None:
    stop(fleet.pods["west/virt-synchronization-controller-a"])
    found = _first(fleet.verify(), "SBV50")
    assert "9185" in found.message


def test_a_standby_that_is_advertised(fleet: Fleet) -> None:
    pod = fleet.pods["west/virt-synchronization-controller-a"]
    stop(pod)
    pod.endpoint = dataclasses.replace(pod.endpoint, role=Role.STANDBY, advertised=True)
    assert _first(fleet.verify(), "SBV52").sites == ("west/west-1",)


def test_filtered_tcp(fleet: Fleet) -> None:
    for name in (WEST, WEST2):
        _filter(fleet, name, "input", "ip saddr 10.88.1.0/24 tcp dport 8443")
    found = _first(fleet.verify(), "SBV51")
    assert "8443" in found.message


def test_filtered_echoes_alone_do_not_hide_that_tcp_passes(fleet: Fleet) -> None:
    _filter(fleet, WEST, "input", "icmp type echo-request")
    verdict = fleet.verify()
    assert {each.code for each in verdict.diagnoses} <= {"SBV80"}


def test_a_pod_without_the_device(fleet: Fleet) -> None:
    fleet.pods[EAST].ip("link", "del", "migration0")
    found = _first(fleet.verify(), "SBV20")
    assert found.sites == ("east/east-1",)


def test_a_pod_without_an_address(fleet: Fleet) -> None:
    fleet.pods[EAST].ip("address", "flush", "dev", "migration0")
    assert _first(fleet.verify(), "SBV21").sites == ("east/east-1",)


def test_a_pod_of_another_family(fleet: Fleet) -> None:
    _readdress(fleet, EAST, "fd00:88::1/64")
    assert _first(fleet.verify(), "SBV23").sites == ("east/east-1",)


def test_an_authority_that_was_not_exchanged(fleet: Fleet) -> None:
    fleet.renew("west")
    fleet.exchange("west", "east")
    for name in fleet.pods:
        fleet.serve(name)
    fleet.await_servers()
    found = _first(fleet.verify(), "SBV60")
    assert found.links == (("east", "west"),)
    assert "west" in found.message


def test_certificates_that_have_expired(fleet: Fleet) -> None:
    fleet.renew("west", since=datetime.now(UTC) - timedelta(days=3))
    fleet.exchange("east", "west")
    fleet.exchange("west", "east")
    for name in fleet.pods:
        fleet.serve(name)
    fleet.await_servers()
    codes = {each.code for each in fleet.verify().diagnoses}
    assert "SBV61" in codes


def test_a_pod_with_a_certificate_of_another_authority(fleet: Fleet) -> None:
    before = fleet.bundles["east"], fleet.clusters["east"], fleet.known
    fleet.renew("elsewhere")
    stale = fleet.directory / "elsewhere/virt-handler-server.pem"
    del fleet.bundles["elsewhere"], fleet.clusters["elsewhere"]
    assert before[0] == fleet.bundles["east"]
    fleet.serve(EAST2, identity=stale)
    fleet.await_servers()
    assert _first(fleet.verify(), "SBV63").sites == ("east/east-2",)


def test_lost_packets(fleet: Fleet) -> None:
    pod = fleet.pods[WEST]
    _filter(fleet, WEST, "input", "icmp type echo-request numgen random mod 100 < 30")
    verdict = fleet.verify()
    found = _first(verdict, "SBV80")
    assert found.sites == (pod.endpoint.site,)


def test_two_faults_are_both_named(fleet: Fleet) -> None:
    stop(fleet.pods[EAST])
    fleet.switch.run("ip", "link", "set", fleet.pods[WEST2].port, "mtu", "1500")
    assert {each.code for each in fleet.verify().diagnoses} == {"SBV50", "SBV42"}


def test_a_namespace_that_is_gone_is_told_as_not_measured(fleet: Fleet) -> None:
    scene = fleet.look()
    stop(fleet.pods[EAST])
    subprocess.run(["ip", "netns", "del", fleet.pods[EAST].netns.name], check=True)
    seen = observe_scene(lambda: scene, fleet.expected, fleet.options)
    assert "SBV71" in {each.code for each in verify(seen).diagnoses}


def test_ipv6_alone_is_measured_whole(fleet: Fleet) -> None:
    for pod in fleet.pods.values():
        old = ipaddress.ip_address(pod.endpoint.addresses[0])
        cluster, number = old.packed[2:]
        pod.ip("address", "flush", "dev", "migration0", "scope", "global")
        new = f"fd00:88::{cluster}:{number}/64"
        pod.ip("address", "add", new, "dev", "migration0", "nodad")
    verdict = fleet.verify()
    assert verdict.diagnoses == ()
    for probe in verdict.observations.probes:
        assert probe.neighbour is not None
        assert len(probe.neighbour.macs) == 1
        assert probe.neighbour.heard
        assert probe.echo is not None
        assert (probe.echo.received, probe.echo.heard) == (20, 20)
        assert probe.path_mtu is not None
        assert probe.path_mtu.passed == 9000


def test_an_ipv6_address_of_two_clusters(fleet: Fleet) -> None:
    for name, pod in fleet.pods.items():
        number = {EAST: 9, WEST: 9}.get(name) or int(pod.port[1:]) + 100
        pod.ip("address", "flush", "dev", "migration0", "scope", "global")
        pod.ip("address", "add", f"fd00:88::{number}/64", "dev", "migration0", "nodad")
    verdict = fleet.verify()
    found = _first(verdict, "SBV24")
    assert set(found.sites) == {"east/east-1", "west/west-1"}
    claims = {each.asker: each.macs for each in verdict.observations.claims}
    macs = {each.name: each.mac for each in verdict.observations.endpoints}
    assert claims[EAST] == (macs[WEST],)


def test_throughput_is_measured_where_it_is_asked_for(fleet: Fleet) -> None:
    fleet.options = dataclasses.replace(fleet.options, throughput=Bounds(seconds=0.2))
    measured = [each.throughput for each in fleet.observe().probes if each.throughput]
    assert len(measured) == 4
    assert all(each.bits_per_s > 10_000_000 for each in measured)
