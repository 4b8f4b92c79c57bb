# SPDX-License-Identifier: Apache-2.0
"""What a changed lease does to a running sandbox, and a frame sent for one that is gone."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spanbridge.base.names import MacAddress
from spanbridge.cni.leases import Change, deliver, renumber
from spanbridge.cni.surroundings import Surroundings
from spanbridge.ipam.dhcp.lease import Lease
from spanbridge.ipam.dhcp.options import ClasslessRoute, Granted
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

OWNER = Owner.of("net1", "c1", "eth0")
GRANTED = Granted(
    address="10.7.0.5",
    prefix_length=24,
    server_id="10.7.0.1",
    routers=("10.7.0.1",),
    routes=(ClasslessRoute("0.0.0.0/0", "10.7.0.1"),),
    dns=(),
    domain="",
    search=(),
    ntp=(),
    mtu=None,
    lease_s=600,
    t1_s=300.0,
    t2_s=525.0,
    text="",
)
OTHER = replace(
    GRANTED,
    address="10.8.0.9",
    routers=("10.8.0.1",),
    routes=(ClasslessRoute("0.0.0.0/0", "10.8.0.1"),),
)


@pytest.fixture
def pod(netns: MakeNetns) -> Netns:
    return netns("pod")


@pytest.fixture
def lease(pod: Netns) -> Callable[[Granted], Lease]:
    def make(granted: Granted) -> Lease:
        seen = pod.path.stat()
        return Lease(
            owner=OWNER,
            netns_path=str(pod.path),
            netns_identity=(seen.st_dev, seen.st_ino),
            boot_id="boot",
            mac=MacAddress("02:00:00:00:00:01"),
            client_id=b"\0c1",
            granted=granted,
            acquired=1.0,
            renewed=1.0,
            t1=2.0,
            t2=3.0,
            expiry=4.0,
            state="bound",
            section={"type": "dhcp"},
        )

    return make


@pytest.fixture
def around(node: Netns, tmp_path: Path) -> Iterator[Surroundings]:
    with NetNs.open(str(node.path)) as host:
        yield Surroundings(host, tmp_path / "run")


@pytest.fixture
def config(conf: Callable[..., Conf]) -> Callable[..., Conf]:
    """A network whose static address is what the first lease grants."""

    def make(**fields: Any) -> Conf:  # noqa: ANN401
        route = {"dst": "0.0.0.0/0", "gw": "10.7.0.1"}
        ipam = {"type": "static", "addresses": [{"address": "10.7.0.5/24", "gateway": "10.7.0.1"}]}
        return conf(ipam=ipam | {"routes": [route]}, **fields)

    return make


def _bytes(conf: Conf) -> bytes:
    return json.dumps(conf).encode()


def test_another_address_takes_the_place_of_the_first_with_its_routes(
    cni: Cni,
    pod: Netns,
    config: Callable[..., Conf],
    lease: Callable[[Granted], Lease],
    around: Surroundings,
    addresses: Callable[[Netns, str], list[str]],
    routes: Callable[[Netns], set[tuple[str, str | None]]],
) -> None:
    cni.add(config(), pod)
    assert renumber(Change(lease(GRANTED), lease(OTHER)), _bytes(config()), around)

    assert [each for each in addresses(pod, "eth0") if "." in each] == ["10.8.0.9/24"]
    assert ("default", "10.8.0.1") in routes(pod)
    assert not {"10.7.0.0/24", "10.7.0.1"} & {part for pair in routes(pod) for part in pair}


def test_an_expired_lease_leaves_no_address_and_a_new_one_brings_it_back(
    cni: Cni,
    pod: Netns,
    config: Callable[..., Conf],
    lease: Callable[[Granted], Lease],
    around: Surroundings,
    addresses: Callable[[Netns, str], list[str]],
) -> None:
    cni.add(config(), pod)
    assert renumber(Change(lease(GRANTED), None), _bytes(config()), around)
    expired = [each for each in addresses(pod, "eth0") if "." in each]
    assert renumber(Change(None, lease(OTHER)), _bytes(config()), around)

    assert expired == []
    assert [each for each in addresses(pod, "eth0") if "." in each] == ["10.8.0.9/24"]


def test_masquerade_and_gateway_follow_the_address(
    cni: Cni,
    node: Netns,
    pod: Netns,
    config: Callable[..., Conf],
    lease: Callable[[Granted], Lease],
    around: Surroundings,
    addresses: Callable[[Netns, str], list[str]],
    elements: Callable[[Netns], list[str]],
) -> None:
    conf = config(ipMasq=True, isGateway=True, macspoofchk=True)
    cni.add(conf, pod)
    before = elements(node)
    assert renumber(Change(lease(GRANTED), lease(OTHER)), _bytes(conf), around)

    assert any("10.7.0.5" in each for each in before)
    assert not any("10.7.0.5" in each for each in elements(node))
    assert any("10.8.0.9" in each for each in elements(node))
    assert "10.8.0.1/24" in addresses(node, "br0")
    # The old gateway's address is on the bridge still, and stays on the node with its entry.
    owned = [
        [each for each in some if "sb1:gateway" not in each] for some in (elements(node), before)
    ]
    assert len(owned[0]) == len(owned[1])
    assert "gateway4-10.8.0.1" in node.run("nft", "list", "ruleset")


def test_what_the_container_added_itself_stays(
    cni: Cni,
    pod: Netns,
    config: Callable[..., Conf],
    lease: Callable[[Granted], Lease],
    around: Surroundings,
    addresses: Callable[[Netns, str], list[str]],
) -> None:
    cni.add(config(), pod)
    pod.run("ip", "addr", "add", "192.168.9.9/24", "dev", "eth0")
    assert renumber(Change(lease(GRANTED), lease(OTHER)), _bytes(config()), around)

    assert "192.168.9.9/24" in addresses(pod, "eth0")


def test_an_interface_of_another_plugin_gets_addresses_and_routes(
    pod: Netns,
    lease: Callable[[Granted], Lease],
    around: Surroundings,
    addresses: Callable[[Netns, str], list[str]],
    routes: Callable[[Netns], set[tuple[str, str | None]]],
) -> None:
    pod.run("ip", "link", "add", "eth0", "type", "veth", "peer", "there")
    pod.run("ip", "link", "set", "eth0", "up")
    pod.run("ip", "link", "set", "there", "up")
    assert renumber(Change(None, lease(GRANTED)), None, around)
    assert renumber(Change(lease(GRANTED), lease(OTHER)), None, around)

    assert [each for each in addresses(pod, "eth0") if "." in each] == ["10.8.0.9/24"]
    assert ("default", "10.8.0.1") in routes(pod)


def test_a_sandbox_that_is_gone_or_another_is_left_alone(
    cni: Cni,
    pod: Netns,
    config: Callable[..., Conf],
    lease: Callable[[Granted], Lease],
    around: Surroundings,
    addresses: Callable[[Netns, str], list[str]],
) -> None:
    cni.add(config(), pod)
    stranger = replace(lease(OTHER), netns_identity=(1, 2))
    nowhere = replace(lease(OTHER), netns_path="/run/netns/nowhere")

    assert not renumber(Change(None, stranger), _bytes(config()), around)
    assert not renumber(Change(None, nowhere), _bytes(config()), around)
    assert [each for each in addresses(pod, "eth0") if "." in each] == ["10.7.0.5/24"]


FRAME = bytes.fromhex("ffffffffffff0200000000aa88b5") + b"spanbridge test".ljust(46, b"\0")
HEAR = """
import socket
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b5)) as raw:
    raw.bind(("eth0", 0)); raw.settimeout(10); print("ready", flush=True); print(raw.recv(99).hex())
"""


def test_a_frame_reaches_the_network_without_a_pod_and_leaves_no_port(
    cni: Cni,
    node: Netns,
    pod: Netns,
    conf: Callable[..., Conf],
    around: Surroundings,
    links: Callable[[Netns], dict[str, Any]],
    listening: Callable[[Netns, str], Callable[[], str]],
) -> None:
    cni.add(conf(), pod)
    before = set(links(node))
    heard = listening(pod, HEAR)
    assert deliver(Owner.of("net1", "gone", "eth0"), _bytes(conf()), FRAME, around)

    assert heard() == FRAME.hex()
    assert set(links(node)) == before


def test_a_frame_for_a_bridge_that_is_gone_is_not_sent(
    conf: Callable[..., Conf], around: Surroundings
) -> None:
    started = time.monotonic()

    assert not deliver(OWNER, _bytes(conf(bridge="nobr")), FRAME, around)
    assert time.monotonic() - started < 5
