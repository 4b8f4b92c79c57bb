# SPDX-License-Identifier: Apache-2.0
"""Faults of what runs beside the network: gateways, certificates, ports."""

from spanbridge.base.errors import NodeError
from spanbridge.lab.faults.recipes import Recipe, Scene, run
from spanbridge.lab.faults.steps import run_in

_TABLE = ("bridge", "spanbridge")
"""What keeps a gateway's address on its node: docs/decisions/0006."""


def gateway_everywhere(scene: Scene) -> Recipe:
    """Let every node answer the whole network for the gateway, as the reference plugin does."""
    lab = scene.runtime.lab
    if not lab.has_gateway:
        raise NodeError("cannot double the gateway: this lab has none")
    make, undo = [], []
    for node in scene.nodes:
        kept = run_in(node.netns, ("nft", "-s", "list", "table", *_TABLE))
        make.append(run(node.netns, "nft", "delete", "table", *_TABLE))
        # What may be there is replaced: one transaction, fine to be done twice.
        script = f"add table {' '.join(_TABLE)}\ndelete table {' '.join(_TABLE)}\n{kept}"
        undo.append(run(node.netns, "nft", "-f", "-", text=script))
    touches = frozenset(f"nftables of {node.name}" for node in scene.nodes)
    return Recipe(tuple(make), tuple(undo), touches)
