# SPDX-License-Identifier: Apache-2.0
"""Address management as a program of its own, when nobody waits for it any more."""

import json
from pathlib import Path

from spanbridge.cni.program import answer
from spanbridge.cni.surroundings import Surroundings
from spanbridge.rtnl import NetNs

ENVIRON = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
}


def _add(place: Path, *, given_up: bool) -> tuple[dict[str, object] | None, list[str]]:
    """Reserve an address; the answer, and the addresses that are reserved then."""
    ipam = {"type": "host-local", "subnet": "10.1.2.0/24", "dataDir": str(place)}
    conf = {"cniVersion": "1.1.0", "name": "net1", "type": "macvlan", "ipam": ipam}
    with NetNs.current() as host:
        around = Surroundings(host, place / "run", cancelled=lambda: given_up)
        document, _ = answer("host-local", ENVIRON, json.dumps(conf).encode(), around)
    return document, sorted(each.name for each in (place / "net1").glob("10.*"))


def test_an_address_that_nobody_waits_for_is_given_back(tmp_path: Path) -> None:
    document, reserved = _add(tmp_path, given_up=True)

    assert document is not None
    assert (document["code"], reserved) == (11, [])


def test_an_address_that_is_waited_for_stays(tmp_path: Path) -> None:
    document, reserved = _add(tmp_path, given_up=False)

    assert document is not None
    assert (document.get("code"), reserved) == (None, ["10.1.2.2"])
