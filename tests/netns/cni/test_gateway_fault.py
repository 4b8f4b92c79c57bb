# SPDX-License-Identifier: Apache-2.0
"""The lab's fault of a gateway that answers everywhere: tables dropped, and brought back."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from spanbridge.lab.faults.parts import gateway_everywhere
from spanbridge.lab.faults.recipes import Scene
from spanbridge.lab.faults.steps import take
from spanbridge.lab.place import Place
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import LabParameters, plan_lab
from spanbridge.testing.kernel_state import differences, read_kernel
from spanbridge.testing.plugin import Netns
from spanbridge.testing.runtime import Cni, Conf


@pytest.fixture
def scene(node: Netns, tmp_path: Path) -> Scene:
    """A lab of which this node is the first, and all that there is."""
    lab = plan_lab(LabParameters())
    here = dataclasses.replace(lab.nodes[0], netns=node.name)
    return Scene(Runtime(lab, Place(tmp_path), tmp_path), (here,), lab.clusters[:1])


@pytest.mark.parametrize("times", [1, 2])
def test_tables_that_keep_a_gateway_on_its_node_are_dropped_and_come_back(
    cni: Cni, layer3: Callable[..., Conf], scene: Scene, node: Netns, pod: Netns, times: int
) -> None:
    cni.add(layer3("10.1.2.0/24", "2001:db8::/64", isGateway=True), pod)
    before = read_kernel([node.name])
    recipe = gateway_everywhere(scene)
    for step in recipe.make:
        take(scene.runtime, step)
    dropped = node.run("nft", "list", "tables", "bridge")
    for step in recipe.undo * times:
        take(scene.runtime, step)

    assert dropped == ""
    assert differences(before, read_kernel([node.name])) == []
