# SPDX-License-Identifier: Apache-2.0
"""The CNI project's `macvlan` and `bridge` lease addresses by our `dhcp` and an agent."""

from pathlib import Path
from typing import Final

import pytest

from spanbridge.testing.agent import Agent
from spanbridge.testing.dhcp import Dnsmasq, StartDnsmasq, wait_until
from spanbridge.testing.modes import ONESHOT
from spanbridge.testing.plugin import AskTool, MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

REFERENCE: Final = next(
    filter(Path.is_dir, map(Path, ("/usr/lib/cni", "/opt/cni/bin"))), Path("/none")
)
SERVER: Final = "10.9.0.1"
BASE: Final = {"cniVersion": "1.0.0", "name": "leased", "ipam": {"type": "dhcp"}}
NETWORKS: Final[dict[str, Conf]] = {
    "macvlan": BASE | {"type": "macvlan", "master": "up0"},
    "bridge": BASE | {"type": "bridge", "bridge": "br0"},
}


@pytest.fixture
def lan(node: Netns, netns: MakeNetns) -> Netns:
    """A host that is 10.9.0.1/24, behind ``up0`` of the node."""
    there = netns("lan")
    node.run("ip", "link", "add", "up0", "type", "veth", "peer", "eth0", "netns", there.name)
    node.run("ip", "link", "set", "up0", "up")
    there.run("ip", "addr", "add", f"{SERVER}/24", "dev", "eth0")
    there.run("ip", "link", "set", "eth0", "up")
    return there


@pytest.fixture
def server(lan: Netns, dhcp_server: StartDnsmasq) -> Dnsmasq:
    """Serves addresses on the other end of ``up0``."""
    return dhcp_server(lan, "eth0", first="10.9.0.50", last="10.9.0.60")


@pytest.fixture
def reference(cni: Cni, cni_mode: str, shared_agent: Agent, node: Netns, server: Dnsmasq) -> Cni:
    """A runtime whose CNI_PATH holds our `dhcp`; a lease needs an agent in both modes."""
    assert (REFERENCE / "macvlan").exists(), "Debian: containernetworking-plugins"
    del server
    node.run("ip", "link", "add", "br0", "type", "bridge")
    if cni_mode == ONESHOT:
        return Cni(cni.bin_dir, cni.run_dir, node, shared_agent.socket)
    return cni


def _attach(reference: Cni, node: Netns, network: Conf, pod: Netns) -> str:
    """ADD; the address without its prefix length."""
    if network["type"] == "bridge":
        node.run("ip", "link", "set", "up0", "master", "br0", "up")
        node.run("ip", "link", "set", "br0", "up")
    result = reference.add(network, pod, program=str(REFERENCE / network["type"]))
    return str(result["ips"][0]["address"]).partition("/")[0]


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_leased_address_reaches_its_server(
    reference: Cni, server: Dnsmasq, node: Netns, pod: Netns, ip_json: AskTool, network: Conf
) -> None:
    address = _attach(reference, node, network, pod)

    listed = ip_json("-4", "addr", "show", "dev", "eth0", netns=pod)[0]["addr_info"]
    assert [each["local"] for each in listed] == [address]
    assert list(server.leases().values()) == [address]
    assert pod.ping(SERVER)


def test_del_gives_the_lease_back(reference: Cni, server: Dnsmasq, node: Netns, pod: Netns) -> None:
    network = NETWORKS["macvlan"]
    address = _attach(reference, node, network, pod)

    reference.delete(network, pod, program=str(REFERENCE / "macvlan"))

    wait_until(lambda: server.leases() == {}, what="the end of the lease")
    assert [address in line for line in server.log("DHCPRELEASE")] == [True]


# The reference bridge removes the interface before it asks for the release: there is no
# way left to the server, where the lease ends in time.
def test_del_of_the_reference_bridge_forgets_the_lease(
    reference: Cni, shared_agent: Agent, node: Netns, pod: Netns
) -> None:
    def held() -> list[str]:
        return [each["address"] for each in shared_agent.ask("leases") if each["netns"] == path]

    network, path = NETWORKS["bridge"], str(pod.path)
    address = _attach(reference, node, network, pod)
    before = held()

    reference.delete(network, pod, program=str(REFERENCE / "bridge"))

    assert (before, held()) == ([f"{address}/24"], [])
    assert f'its RELEASE could not be sent" lease="eth0 of c1 on leased" address={address}' in (
        shared_agent.log
    )


def test_check_passes_while_the_lease_is_held_and_fails_without_it(
    reference: Cni, node: Netns, pod: Netns
) -> None:
    network = NETWORKS["bridge"]
    _attach(reference, node, network, pod)
    assert reference.call("CHECK", network, pod, program="dhcp").result is None

    assert reference.call("DEL", network, pod, program="dhcp").result is None

    assert reference.call("CHECK", network, pod, program="dhcp").code == 120
