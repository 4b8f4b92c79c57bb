# SPDX-License-Identifier: Apache-2.0
"""What an agent of the lab is started with, and what cannot be."""

from pathlib import Path

import pytest

from spanbridge.base.errors import InputError
from spanbridge.lab.agents import render_directories, require_short_paths
from spanbridge.lab.lifecycle import require_usable
from spanbridge.lab.place import Place
from spanbridge.lab.topology import IpamKind, LabParameters, plan_lab

LAB = plan_lab(LabParameters())


def test_no_two_nodes_share_a_directory_or_a_socket() -> None:
    places = [render_directories(Place(), node) for node in LAB.nodes]
    everything = [path for each in places for path in each.values()]
    assert len(set(everything)) == len(everything) == 3 * len(LAB.nodes)


@pytest.mark.parametrize(("length", "fits"), [(80, True), (81, False)])
def test_a_directory_too_deep_for_sockets_is_refused(length: int, fits: bool) -> None:  # noqa: FBT001  # a parameter of the test
    # "/nodes/east-1/agent.sock" has 24 bytes, a lab of one-digit clusters is no shorter.
    place = Place(Path("/" + "d" * (length + 2)))
    lab = plan_lab(LabParameters())
    if fits:
        require_short_paths(lab, place)
        return
    with pytest.raises(InputError, match="bytes too many") as caught:
        require_short_paths(lab, place)
    assert "--state-dir" in caught.value.hint


def test_a_dhcp_server_is_refused_for_the_programs_of_others() -> None:
    with pytest.raises(InputError, match="cannot use --ipam dhcp") as caught:
        require_usable(LAB, Place(), Path("/usr/lib/cni"))
    assert "--ipam host-local" in caught.value.hint


def test_the_programs_of_others_hand_out_addresses_by_themselves() -> None:
    lab = plan_lab(LabParameters(ipam=IpamKind.HOST_LOCAL))
    require_usable(lab, Place(), Path("/usr/lib/cni"))
