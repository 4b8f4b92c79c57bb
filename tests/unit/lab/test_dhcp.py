# SPDX-License-Identifier: Apache-2.0
"""The lab's DHCP server: how it is called, and what is read of what it writes."""

from pathlib import Path

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.lab.dhcp import DhcpLease, Dnsmasq, about, parse_leases, render_command
from spanbridge.lab.place import Place
from spanbridge.lab.topology import IpamKind, LabParameters, plan_lab

SERVER = Dnsmasq(Place(Path("/run/lab")))

# As dnsmasq 2.90 writes it; the second client sent no host name and no client id.
LEASES = """\
1795534953 7a:aa:47:37:68:5a 10.88.0.76 virt-handler-9hrxx 00:73:62:2d:6c:61:62
1795534960 0a:be:c6:e0:85:c7 10.88.0.146 * *
"""

LOG = (
    "dnsmasq-dhcp: DHCP, sockets bound exclusively to interface eth0",
    "dnsmasq-dhcp: DHCPDISCOVER(eth0) 7a:aa:47:37:68:5a ",
    "dnsmasq-dhcp: DHCPOFFER(eth0) 10.88.0.7 7a:aa:47:37:68:5a ",
    "dnsmasq-dhcp: DHCPACK(eth0) 10.88.0.7 7a:aa:47:37:68:5a virt-handler-9hrxx",
    "dnsmasq-dhcp: DHCPACK(eth0) 10.88.0.76 0a:be:c6:e0:85:c7 ",
)


def test_every_lease_of_the_file_is_read() -> None:
    assert parse_leases(LEASES) == (
        DhcpLease("7a:aa:47:37:68:5a", "10.88.0.76", 1795534953),
        DhcpLease("0a:be:c6:e0:85:c7", "10.88.0.146", 1795534960),
    )


@pytest.mark.parametrize("text", ["", "\n", "duid 00:01\n", "1795534953 7a:aa"])
def test_what_is_no_lease_of_ipv4_is_left_out(text: str) -> None:
    assert parse_leases(text) == ()


def test_lines_of_the_log_are_chosen_by_kind_and_whole_address() -> None:
    assert about(LOG, "DHCPACK", "10.88.0.7") == (
        "DHCPACK(eth0) 10.88.0.7 7a:aa:47:37:68:5a virt-handler-9hrxx",
    )
    assert len(about(LOG, "DHCPACK")) == 2
    assert about(LOG, "DHCPRELEASE") == ()


def test_the_server_gives_the_pool_and_the_router_and_nothing_but_dhcp() -> None:
    lab = plan_lab(LabParameters())
    command = render_command(lab, SERVER)
    assert "--dhcp-range=10.88.0.2,10.88.0.201,255.255.255.0,120" in command
    assert "--dhcp-option=option:router,10.88.0.1" in command
    assert {"--port=0", "--interface=eth0", "--bind-interfaces"} <= set(command)


def test_the_server_does_not_change_users_as_a_user_namespace_has_but_one() -> None:
    command = render_command(plan_lab(LabParameters()), SERVER)
    assert "--no-daemon" in command
    assert "--keep-in-foreground" not in command


def test_a_lab_whose_nodes_hand_out_addresses_has_no_server_to_start() -> None:
    lab = plan_lab(LabParameters(ipam=IpamKind.HOST_LOCAL))
    with pytest.raises(NodeError, match="the nodes hand out the addresses"):
        render_command(lab, SERVER)
