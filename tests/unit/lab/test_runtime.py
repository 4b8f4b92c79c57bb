# SPDX-License-Identifier: Apache-2.0
"""What the lab's runtime hands to a CNI program."""

import json
from pathlib import Path

from spanbridge.lab.agents import render_directories
from spanbridge.lab.place import Place
from spanbridge.lab.runtime import render_environment, render_network
from spanbridge.lab.topology import IpamKind, LabParameters, plan_lab
from spanbridge.model.request import parse_args, parse_request

LAB = plan_lab(LabParameters(mtu=9000, ipam=IpamKind.HOST_LOCAL))
POD = LAB.nodes[2].handler


def test_with_a_dhcp_server_the_network_is_the_documented_example_key_by_key() -> None:
    lab = plan_lab(LabParameters())
    network = render_network(lab, lab.nodes[2].handler, ipam_dir=Path("/run/lab"))
    assert json.dumps(network) == (
        '{"cniVersion": "0.3.1", "name": "bridge-net", "type": "bridge", "bridge": "br-mig", '
        '"isGateway": true, "vlan": 2, "ipam": {"type": "dhcp"}}'
    )


def test_another_mtu_is_added_to_the_example() -> None:
    lab = plan_lab(LabParameters(mtu=9000))
    network = render_network(lab, lab.nodes[0].handler, ipam_dir=Path("/run/lab"))
    assert network["mtu"] == 9000


def test_the_pod_without_a_vlan_needs_no_dhcp_server() -> None:
    lab = plan_lab(LabParameters())
    network = render_network(lab, lab.outsider, ipam_dir=Path("/run/lab"))
    ipam = network["ipam"]
    assert isinstance(ipam, dict)
    assert ipam["type"] == "host-local"


def test_a_network_gives_each_node_its_own_range_and_directory() -> None:
    network = render_network(LAB, POD, ipam_dir=Path("/run/lab/west-1"))
    assert network == {
        "cniVersion": "1.0.0",
        "name": "bridge-net",
        "type": "bridge",
        "bridge": "br-mig",
        "mtu": 9000,
        "vlan": 2,
        "preserveDefaultVlan": False,
        "ipam": {
            "type": "host-local",
            "ranges": [
                [
                    {
                        "subnet": "10.88.0.0/24",
                        "rangeStart": "10.88.0.102",
                        "rangeEnd": "10.88.0.151",
                    }
                ]
            ],
            "dataDir": "/run/lab/west-1",
        },
    }


def test_the_network_without_a_vlan_has_no_such_key() -> None:
    network = render_network(LAB, LAB.outsider, ipam_dir=Path("/run/lab"))
    assert network["name"] == "no-vlan-net"
    assert not {"vlan", "preserveDefaultVlan"} & set(network)


def test_the_environment_is_one_that_a_plugin_accepts() -> None:
    directories = render_directories(Place(Path("/n")), LAB.nodes[2])
    environment = render_environment("ADD", POD, bin_dir=Path("/b"), directories=directories)
    request = parse_request(environment, b"")
    assert (request.verb, request.ifname, request.path) == ("ADD", "migration0", ("/b",))
    assert request.netns == "/run/netns/sb-lab-west-1.virt-handler"
    assert parse_args(request.args, frozenset({"K8S_POD_NAME"})) == {"K8S_POD_NAME": POD.name}
    assert environment["SPANBRIDGE_SOCKET"] == "/n/nodes/west-1/agent.sock"
