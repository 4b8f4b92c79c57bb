# SPDX-License-Identifier: Apache-2.0
"""Stand-ins as a part of a lab: what its status and its end make of them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from spanbridge.lab.daemons import kill
from spanbridge.lab.kubevirt.handler import HandlerSettings
from spanbridge.lab.lifecycle import down
from spanbridge.lab.place import Place, Record
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin import advertise, advertised
from spanbridge.lab.standin.launching import await_standin, launch_standins
from spanbridge.lab.standin.observing import observe_standins
from spanbridge.lab.standin.paths import handler_daemon, handler_socket
from spanbridge.lab.topology import Lab, LabParameters, plan_lab, sync_pods
from spanbridge.lab.trust import ensure_trust, trust_dir
from spanbridge.model.observations import Role


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "s")
    made.write(Record(LabParameters(), made.bin_dir, complete=False))
    yield made
    down(made)


@pytest.fixture
def lab(place: Place) -> Lab:
    """A lab of which there is nothing but the pod of the first virt-handler, and a stand-in."""
    made = plan_lab(LabParameters())
    node = made.nodes[0]
    pod = node.handler.netns
    _ip("netns", "add", pod)
    _ip("-n", pod, "link", "add", "migration0", "type", "veth")
    _ip("-n", pod, "address", "add", "10.88.0.77/24", "dev", "migration0")
    ensure_trust(place, ("east", "west"))
    settings = HandlerSettings(str(handler_socket(place, node)), str(trust_dir(place, "east")))
    launch_standins([(handler_daemon(place, node), settings)])
    await_standin(handler_daemon(place, node), handler_socket(place, node))
    return made


def _pids(netns: str) -> list[int]:
    return [int(pid) for pid in _ip("netns", "pids", netns).split()]


def test_status_finds_the_stand_in_that_runs(lab: Lab, place: Place) -> None:
    (seen,) = observe_standins(lab, place)
    assert [seen.pid] == _pids(lab.nodes[0].handler.netns)
    assert (seen.role, seen.address, seen.fault) == (Role.HANDLER, "10.88.0.77", "")


def test_status_tells_of_a_stand_in_that_ended(lab: Lab, place: Place) -> None:
    kill(handler_daemon(place, lab.nodes[0]))
    (seen,) = observe_standins(lab, place)
    assert (seen.pid, seen.fault) == (None, "the virt-handler of east-1 does not run")


def test_down_ends_the_stand_ins(lab: Lab, place: Place) -> None:
    (pid,) = _pids(lab.nodes[0].handler.netns)
    assert down(place).clean
    assert not Path(f"/proc/{pid}/cwd").exists()
    assert "sb-lab-" not in _ip("netns", "list")


def test_kubevirt_names_the_address_that_the_runtime_noted(place: Place) -> None:
    leader, standby = sync_pods(plan_lab(LabParameters()))[:2]
    runtime = Runtime(plan_lab(LabParameters()), place, place.bin_dir)
    for pod, address in ((leader, "10.88.0.9/24"), (standby, "fd88::a/64")):
        file = runtime.place.result_file(pod.pod)
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"cniVersion": "0.3.1", "ips": [{"address": address}]}))
    assert advertised(place, "east") == ""
    advertise(place, leader)
    assert advertised(place, "east") == "10.88.0.9:9185"
    advertise(place, standby)
    assert advertised(place, "east") == "[fd88::a]:9185"
