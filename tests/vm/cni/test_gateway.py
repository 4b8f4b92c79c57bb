# SPDX-License-Identifier: Apache-2.0
"""``isGateway`` in a VLAN: the interface ``<bridge>.<vlan>``, whoever made it."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

from spanbridge.testing.modes import in_both_modes

if TYPE_CHECKING:
    from tests.vm.cni.conftest import Attachment, World

NATIVE: Final = "PVID Egress Untagged"
DUAL: Final = ("10.9.0.0/24", "fd00:9::/64")
PARALLEL: Final = 8
FILTERING: Final = "ip link add br0 type bridge vlan_filtering 1"
SUBNETS: Final = {
    "ipv4": (("10.9.0.0/24",), ["10.9.0.1/24"]),
    "ipv6": (("fd00:9::/64",), ["fd00:9::1/64"]),
}
WRONG: Final = {
    "dummy": ["ip link add br0.100 type dummy"],
    "veth-elsewhere": ["ip link add br0.100 type veth peer name stray"],
    "other-vlan": ["ip link add link br0 name br0.100 type vlan id 200"],
    "other-bridge": [
        "ip link add br1 type bridge vlan_filtering 1",
        "ip link add link br1 name br0.100 type vlan id 100",
    ],
}
PORT: Final = f"veth{hashlib.sha256(b'gateway' + bytes(1) + b'br0.100').hexdigest()[:8]}"
KILLED: Final = {
    "made": ["ip link add br0.100 type veth peer name {port}"],
    "marked": [
        "ip link add br0.100 type veth peer name {port}",
        "ip link set br0.100 alias 'sb1:gateway of VLAN 100 of br0'",
    ],
}
"""What an ADD leaves when it is killed between the steps of making the pair."""


@pytest.fixture(scope="module")
def dual(shared_world: "World") -> "Attachment":
    """A pod of a network with both families, on a bridge that ADD made."""
    return shared_world.attach(shared_world.host_local(*DUAL, vlan=100, isGateway=True))


def gateway_port(world: "World", device: str = "br0.100") -> str:
    """Find the other end of the gateway's interface by its index."""
    links = world.links()
    assert links[device]["linkinfo"]["info_kind"] == "veth"
    return next(name for name, it in links.items() if it.get("link") == device)


def test_the_gateway_is_a_veth_on_a_port_of_the_vlan(
    shared_world: "World", dual: "Attachment"
) -> None:
    port = gateway_port(shared_world)
    links = shared_world.links()
    assert {"UP", "LOWER_UP"} <= set(links["br0.100"]["flags"])
    assert links[port]["master"] == "br0"
    assert shared_world.vlans(port) == [f"100 {NATIVE}"]
    assert shared_world.vlans(dual.port) == [f"100 {NATIVE}"]
    assert shared_world.addresses("br0.100") == ["10.9.0.1/24", "fd00:9::1/64"]
    assert shared_world.addresses("br0") == []


def test_the_pod_reaches_the_gateway(dual: "Attachment") -> None:
    assert dual.pod.ping("10.9.0.1")
    assert dual.pod.ping("fd00:9::1")


def test_the_result_lists_the_gateways_interface(shared_world: "World", dual: "Attachment") -> None:
    listed = dual.result["interfaces"]
    assert [it["name"] for it in listed] == ["br0", dual.port, "eth0", "br0.100"]
    assert listed[3]["mac"] == shared_world.links()["br0.100"]["address"]
    assert [it["interface"] for it in dual.result["ips"]] == [2, 2]


def test_the_gateway_does_not_listen_to_router_advertisements(
    shared_world: "World", dual: "Attachment"
) -> None:
    for name in ("br0.100", gateway_port(shared_world), dual.port):
        path = f"/proc/sys/net/ipv6/conf/{name}/accept_ra"
        assert shared_world.node.run("cat", path).strip() == "0", name


def test_a_pod_without_the_vlan_does_not_reach_the_gateway(
    shared_world: "World", dual: "Attachment"
) -> None:
    assert dual.pod.ping("10.9.0.1")
    plain = shared_world.attach(shared_world.static("10.9.0.200/24", name="plain"), "plain")
    assert not plain.pod.ping("10.9.0.1", wait_s=1)


@pytest.mark.parametrize(("subnets", "addresses"), SUBNETS.values(), ids=SUBNETS)
def test_one_family_puts_one_address_on_the_gateway(
    world: "World", subnets: tuple[str, ...], addresses: list[str]
) -> None:
    attached = world.attach(world.host_local(*subnets, vlan=100, isGateway=True))
    assert world.addresses("br0.100") == addresses
    assert attached.pod.ping(addresses[0].partition("/")[0])


def test_the_gateway_stays_while_somebody_is_in_the_vlan(world: "World") -> None:
    conf = world.host_local(vlan=100, isGateway=True)
    one = world.attach(conf, "c1")
    index = world.links()["br0.100"]["ifindex"]
    two = world.attach(conf, "c2")
    assert two.pod.ping("10.9.0.1")
    world.cni.delete(conf, one.pod, container="c1")
    assert world.links()["br0.100"]["ifindex"] == index
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    world.cni.call("GC", conf | {"cni.dev/valid-attachments": valid}).result  # noqa: B018
    assert world.links()["br0.100"]["ifindex"] == index
    assert two.pod.ping("10.9.0.1")
    world.cni.delete(conf, two.pod, container="c2")
    assert world.links()["br0.100"]["ifindex"] == index
    world.cni.call("GC", conf | {"cni.dev/valid-attachments": []}).result  # noqa: B018
    assert set(world.links()) == {"br0"}


def test_an_8021q_interface_that_is_down_is_adopted(world: "World") -> None:
    world.sh(FILTERING, "ip link add link br0 name br0.100 type vlan id 100")
    index = world.links()["br0.100"]["ifindex"]
    attached = world.attach(world.host_local(vlan=100, isGateway=True))
    assert world.links()["br0.100"]["ifindex"] == index
    assert "UP" in world.links()["br0.100"]["flags"]
    assert "100" in world.vlans("br0"), "the host takes part in the VLAN, tagged"
    assert attached.pod.ping("10.9.0.1")


@pytest.mark.parametrize("lines", WRONG.values(), ids=WRONG)
def test_a_wrong_link_of_the_gateways_name_is_refused(world: "World", lines: list[str]) -> None:
    world.sh(FILTERING, "ip link set br0 up", *lines)
    before, pod = world.links(), world.netns()
    answer = world.cni.call("ADD", world.host_local(vlan=100, isGateway=True), pod)
    assert answer.code == 103
    assert "br0.100" in answer.error["msg"]
    assert "ip link del br0.100" in answer.error["details"]
    assert set(world.links()) == set(before)
    assert world.addresses("br0.100") == []
    assert world.links(pod) == {}
    assert list((world.place / "leases").glob("net1/10.*")) == []


def test_an_add_repairs_the_gateway(world: "World") -> None:
    conf = world.host_local(vlan=100, isGateway=True)
    one = world.attach(conf, "c1")
    port = gateway_port(world)
    world.sh(
        "ip link set br0.100 down",
        f"ip link set {port} down",
        f"bridge vlan del vid 100 dev {port}",
        f"bridge vlan add vid 1 dev {port} pvid untagged",
    )
    two = world.attach(conf, "c2")
    assert world.vlans(port) == [f"100 {NATIVE}"]
    assert one.pod.ping("10.9.0.1")
    assert world.check(two) is None


def test_a_gateway_port_that_kept_vlan_1_is_put_right(world: "World") -> None:
    world.sh(
        *(FILTERING, "ip link add br0.100 type veth peer name old"),
        *("ip link set old up master br0", "bridge vlan add vid 100 dev old pvid untagged"),
    )
    assert world.vlans("old") == ["1 Egress Untagged", f"100 {NATIVE}"]
    attached = world.attach(world.host_local(vlan=100, isGateway=True))
    assert world.vlans("old") == [f"100 {NATIVE}"]
    assert world.check(attached) is None


@pytest.mark.parametrize("lines", KILLED.values(), ids=KILLED)
def test_an_add_finishes_the_gateway_of_a_killed_one(world: "World", lines: list[str]) -> None:
    world.sh(FILTERING, *(line.format(port=PORT) for line in lines))
    attached = world.attach(world.host_local(vlan=100, isGateway=True))
    assert gateway_port(world) == PORT
    assert world.vlans(PORT) == [f"100 {NATIVE}"]
    assert attached.pod.ping("10.9.0.1")
    assert world.check(attached) is None


@pytest.mark.parametrize("lines", KILLED.values(), ids=KILLED)
def test_gc_removes_the_gateway_of_a_killed_add(world: "World", lines: list[str]) -> None:
    world.sh(FILTERING, *(line.format(port=PORT) for line in lines))
    conf = world.host_local(vlan=100, isGateway=True, **{"cni.dev/valid-attachments": []})
    world.cni.call("GC", conf).result  # noqa: B018
    assert set(world.links()) == {"br0"}


def test_first_attachments_at_once_share_one_gateway(world: "World") -> None:
    conf = world.host_local(vlan=100, isGateway=True)
    pods = {f"c{number}": world.netns() for number in range(PARALLEL)}
    with ThreadPoolExecutor(PARALLEL) as pool:
        jobs = [pool.submit(world.cni.add, conf, pods[name], container=name) for name in pods]
        results = [job.result() for job in jobs]
    assert len({it["ips"][0]["address"] for it in results}) == PARALLEL
    assert len({it["interfaces"][3]["mac"] for it in results}) == 1
    assert len(world.links()) == 2 + 1 + PARALLEL, "bridge, gateway and its port, host ports"
    for it in results:
        assert world.vlans(it["interfaces"][1]["name"]) == [f"100 {NATIVE}"]
    assert all(pod.ping("10.9.0.1") for pod in pods.values())


@in_both_modes
def test_a_failing_add_takes_its_gateway_away(world: "World") -> None:
    conf = world.static("10.9.0.5/24", vlan=100, isGateway=True)
    conf["ipam"]["routes"] = [{"dst": "10.66.0.0/16", "gw": "192.0.2.1"}]
    pod = world.netns()
    assert "10.66.0.0/16" in world.cni.call("ADD", conf, pod).error["msg"]
    assert world.links() == {}
    assert world.links(pod) == {}


def test_a_failing_add_leaves_the_gateway_of_others(world: "World") -> None:
    good = world.attach(world.static("10.9.0.4/24", vlan=100, isGateway=True))
    conf = world.static("10.9.0.5/24", vlan=100, isGateway=True)
    conf["ipam"]["routes"] = [{"dst": "10.66.0.0/16", "gw": "192.0.2.1"}]
    before = set(world.links())
    assert world.cni.call("ADD", conf, world.netns(), container="c2").status == 1
    assert set(world.links()) == before
    assert good.pod.ping("10.9.0.1")


def test_the_gateway_of_a_trunk_without_vlan_is_the_bridge(world: "World") -> None:
    conf = world.host_local(vlanTrunk=[{"id": 101}], isGateway=True)
    attached = world.attach(conf)
    assert world.addresses("br0") == ["10.9.0.1/24"]
    assert "br0.1" not in world.links()
    assert attached.pod.ping("10.9.0.1")
