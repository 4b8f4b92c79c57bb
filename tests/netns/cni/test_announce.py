# SPDX-License-Identifier: Apache-2.0
"""What a pod's neighbours hear of its addresses; the oracle is tcpdump."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from spanbridge.testing.plugin import MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

MakeConf = Callable[..., Conf]
MAC = "02:00:5e:10:00:01"
ADDRESSES = {"10.1.2.0/24": "10.1.2.3", "fd00::/64": "fd00::3"}
FILTERS = {"10.1.2.0/24": "arp", "fd00::/64": "src fd00::3 and icmp6[0] == 136"}
HEARD = {
    "10.1.2.0/24": f"{MAC} > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: "
    "Request who-has 10.1.2.3 tell 10.1.2.3",
    "fd00::/64": f"{MAC} > 33:33:00:00:00:01, ethertype IPv6 (0x86dd), length 86: "
    "fd00::3 > ff02::1: ICMP6, neighbor advertisement, tgt is fd00::3",
}


@contextmanager
def _heard(netns: Netns, expression: str) -> Iterator[Callable[[], str]]:
    """Capture on ``eth0`` until the first frame that fits; its line, waited for."""
    argv = ["tcpdump", "-i", "eth0", "-nnel", "-t", "-c", "1", "--immediate-mode", expression]
    with subprocess.Popen(
        ["ip", "netns", "exec", netns.name, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("listening on"):
                break
        try:
            yield lambda: process.communicate(timeout=10)[0]
        finally:
            process.kill()


@pytest.mark.parametrize("subnet", ADDRESSES)
def test_a_neighbour_hears_whose_the_address_is_now(
    cni: Cni, layer3: MakeConf, netns: MakeNetns, pod: Netns, subnet: str
) -> None:
    conf = layer3(subnet, isGateway=True)
    neighbour = netns("neighbour")
    cni.add(conf, neighbour, container="c0")

    # What is sent before the port forwards does not come this far.
    with _heard(neighbour, f"ether src {MAC} and {FILTERS[subnet]}") as line:
        cni.add(conf, pod, args=f"MAC={MAC};IP={ADDRESSES[subnet]}")

        assert line().startswith(HEARD[subnet])
