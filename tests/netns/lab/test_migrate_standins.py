# SPDX-License-Identifier: Apache-2.0
"""Live migrations of a real guest from virt-handler to virt-handler, on a plain switch."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from spanbridge.lab.lifecycle import down
from spanbridge.lab.migrate import Request, migrate
from spanbridge.lab.migration.request import Mode, Options, find_target
from spanbridge.lab.migration.standins import StandinCrossing
from spanbridge.lab.place import Place, Record
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin import ensure_standins
from spanbridge.lab.standin.control import request
from spanbridge.lab.standin.paths import sync_socket
from spanbridge.lab.topology import LabParameters, Pod, plan_lab, sync_pods
from spanbridge.lab.trust import exchange, forget
from spanbridge.lab.vm.life import start_machine
from spanbridge.lab.vm.machine import Machine, Wanted, find_machine
from spanbridge.model.timeline import Migration, Outcome, Sample

pytestmark = pytest.mark.timeout(240)
MIB = 1 << 20


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def _plug(place: Place, pod: Pod, number: int) -> None:
    """Attach a pod to the switch by hand, and note it as the runtime would."""
    _ip("netns", "add", pod.netns)
    _ip("-n", pod.netns, "link", "set", "lo", "up")
    _ip(
        *("-n", "sb-lab-fabric", "link", "add", f"pod{number}", "up", "master", "br0"),
        *("type", "veth", "peer", "migration0", "netns", pod.netns),
    )
    _ip("-n", pod.netns, "address", "add", f"10.88.0.{number}/24", "dev", "migration0")
    _ip("-n", pod.netns, "link", "set", "migration0", "up")
    file = place.result_file(pod)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"ips": [{"address": f"10.88.0.{number}/24"}]}))


@dataclass(frozen=True)
class Scene:
    """Two clusters of two nodes, their stand-ins, and what a test does with them."""

    runtime: Runtime
    crossing: StandinCrossing
    ports: dict[str, str]

    def move(self, where: str, options: Options | None = None, *, cut: str = "") -> Migration:
        """Migrate `web`; ``cut`` is a port of the switch that goes down on the way."""
        machine = find_machine(self.runtime.place, "web")
        assert machine is not None
        here = next(node for node in self.runtime.lab.nodes if node.name == machine.node)
        asked = Request(machine, find_target(self.runtime.lab, where, here), options or Options())

        def watch(sample: Sample) -> None:
            if cut and sample.transferred_bytes > 8 * MIB:
                _ip("-n", "sb-lab-fabric", "link", "set", cut, "down")

        try:
            return migrate(self.runtime, asked, self.crossing, watch=watch)
        finally:
            if cut:
                _ip("-n", "sb-lab-fabric", "link", "set", cut, "up")

    def node(self) -> str:
        """Tell where `web` is, by what `ip` finds."""
        listed = _ip("netns", "list")
        (found,) = re.findall(r"(?m)^sb-lab-([\w-]+)\.virt-launcher-web-\w+", listed)
        return str(found)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    place = Place(tmp_path_factory.mktemp("s"))
    parameters = LabParameters()
    place.write(Record(parameters, place.bin_dir, complete=False))
    runtime = Runtime(plan_lab(parameters), place, place.bin_dir)
    _ip("netns", "add", "sb-lab-fabric")
    _ip("-n", "sb-lab-fabric", "link", "add", "br0", "up", "type", "bridge")
    handlers = [node.handler for node in runtime.lab.nodes]
    for node in runtime.lab.nodes:
        _ip("netns", "add", node.netns)
    pods = [*handlers, *(each.pod for each in sync_pods(runtime.lab))]
    for number, pod in enumerate(pods, start=2):
        _plug(place, pod, number)
    standins = ensure_standins(runtime, lambda _: None)
    start_machine(runtime, Wanted("web", dirty_mib_per_s=5))
    ports = {node.name: f"pod{number}" for number, node in enumerate(runtime.lab.nodes, start=2)}
    yield Scene(runtime, StandinCrossing(runtime, standins), ports)
    down(place)


@pytest.fixture(autouse=True)
def at_home(scene: Scene) -> Machine:
    """Bring the machine to east-1, where it is not."""
    if scene.node() != "east-1":
        assert scene.move("east/east-1").error == ""
    machine = find_machine(scene.runtime.place, "web")
    assert machine is not None
    return machine


def test_a_machine_goes_there_and_back_over_migration0_alone(scene: Scene) -> None:
    for where in ("west", "east/east-1") * 2:
        done = scene.move(where)
        assert (done.outcome, done.error) == (Outcome.COMPLETED, "")
        assert (done.lost_ticks, done.session_kept) == (0, True)
        assert done.elsewhere_bytes == 0
        assert done.migration0_bytes > done.samples[-1].transferred_bytes > 20 * MIB
    assert scene.node() == "east-1"


def test_within_a_cluster_the_sync_controllers_have_no_part(scene: Scene) -> None:
    before = _known_to_leaders(scene)
    done = scene.move("east/east-2")
    assert (done.outcome, done.error, scene.node()) == (Outcome.COMPLETED, "", "east-2")
    assert _known_to_leaders(scene) == before
    assert scene.move("west").error == ""
    assert len(_known_to_leaders(scene)) == len(before) + 2


def _known_to_leaders(scene: Scene) -> list[str]:
    """Ask both leading sync controllers for the migrations that they have heard of."""
    place, pods = scene.runtime.place, sync_pods(scene.runtime.lab)
    told = [request(sync_socket(place, each), {"do": "status"}) for each in pods if each.leader]
    return [each["migration"] for status in told for each in status["migrations"]]


def test_an_uplink_that_is_cut_on_the_way_leaves_the_machine_running(
    scene: Scene, at_home: Machine
) -> None:
    options = Options(bandwidth_mib_per_s=20, stall_s=3)
    done = scene.move("west", options, cut=scene.ports["east-1"])
    assert done.outcome is Outcome.FAILED
    assert "cannot migrate web to west/west-1: no byte was transferred for 3 s" in done.error
    assert done.error.endswith("; it runs on in east/east-1")
    assert done.session_kept
    assert find_machine(scene.runtime.place, "web") == at_home
    assert scene.node() == "east-1"


def test_a_post_copy_migration_crosses_too(scene: Scene) -> None:
    done = scene.move("west", Options(mode=Mode.POST_COPY))
    assert (done.outcome, done.error, scene.node()) == (Outcome.COMPLETED, "", "west-1")
    assert (done.lost_ticks, done.session_kept, done.elsewhere_bytes) == (0, True, 0)


def test_clusters_that_do_not_trust_each_other_exchange_no_machine(
    scene: Scene, at_home: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanbridge.lab.migration.standins.EXCHANGE_S", 2.0)
    forget(scene.runtime.place, "west", "east")
    try:
        done = scene.move("west")
    finally:
        exchange(scene.runtime.place, ("east", "west"))
    assert done.outcome is Outcome.FAILED
    assert "the sync controllers of east and west did not reach each other" in done.error
    assert done.session_kept
    assert find_machine(scene.runtime.place, "web") == at_home
    assert scene.node() == "east-1"
