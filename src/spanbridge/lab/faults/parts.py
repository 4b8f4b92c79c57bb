# SPDX-License-Identifier: Apache-2.0
"""Faults of what runs beside the network: gateways, certificates, ports."""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.faults.recipes import Kind, Recipe, Scene, Step, run
from spanbridge.lab.faults.steps import run_in
from spanbridge.lab.kubevirt.identities import BUNDLE
from spanbridge.lab.place import Place
from spanbridge.lab.standin.paths import kubevirt_file
from spanbridge.lab.topology import Cluster
from spanbridge.lab.trust import trust_dir

_TABLE: Final = ("bridge", "spanbridge")
"""What keeps a gateway's address on its node: docs/decisions/0006."""


def gateway_everywhere(scene: Scene) -> Recipe:
    """Let every node answer the whole network for the gateway, as the reference plugin does."""
    if not scene.runtime.lab.has_gateway:
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


def _part(where: str, *words: str, said: str) -> Step:
    return Step(Kind.PART, where, words, said=said)


def _bring_back(place: Place, files: Iterable[Path]) -> tuple[Step, ...]:
    """Make the steps that give files the content which they have now."""
    return tuple(
        Step(
            Kind.FILE,
            str(file.relative_to(place.directory)),
            ("write",),
            base64.b64encode(file.read_bytes()).decode(),
            said="as it was",
        )
        for file in files
    )


def _trust_words(cluster: Cluster) -> str:
    return f"certificates of {cluster.name}"


def ca_not_exchanged(scene: Scene) -> Recipe:
    """Take the second cluster's authority out of what the first one trusts."""
    here, there = scene.clusters
    place = scene.runtime.place
    said = f"the authority of {there.name} is taken out of the ConfigMap kubevirt-ca"
    return Recipe(
        make=(_part(here.name, "forget", there.name, said=said),),
        undo=_bring_back(place, [trust_dir(place, here.name) / BUNDLE]),
        touches=frozenset({_trust_words(here)}),
    )


def ca_expired(scene: Scene) -> Recipe:
    """Let the authority of the cluster have ended, and with it all its certificates."""
    place, lab = scene.runtime.place, scene.runtime.lab
    own = sorted(each for each in trust_dir(place, scene.cluster.name).iterdir() if each.is_file())
    others = [each for each in lab.clusters if each is not scene.cluster]
    said = "the authority kubevirt-ca ended an hour ago, and so did what it has signed"
    return Recipe(
        make=(_part(scene.cluster.name, "age", said=said),),
        undo=_bring_back(place, [*own, *(trust_dir(place, each.name) / BUNDLE for each in others)]),
        touches=frozenset(map(_trust_words, lab.clusters)),
    )


def _handler_words(scene: Scene) -> str:
    return f"virt-handler of {scene.node.name}"


def port_closed(scene: Scene) -> Recipe:
    """End the virt-handler."""
    name, pod = scene.node.name, scene.pod.name
    return Recipe(
        make=(_part(name, "end-handler", said=f"the process of {pod} is killed"),),
        undo=(_part(name, "start-handler", said=f"the process of {pod} is started"),),
        touches=frozenset({_handler_words(scene)}),
    )


def stale_certificate(scene: Scene) -> Recipe:
    """Let the virt-handler go on with a certificate that an earlier authority signed."""
    name, pod = scene.node.name, scene.pod.name
    stale = f"the process of {pod} has certificates of an authority that was replaced"
    fresh = f"the process of {pod} is started again with those of its cluster"
    return Recipe(
        make=(_part(name, "stale", said=stale),),
        undo=(
            _part(name, "end-handler", said=f"the process of {pod} is killed"),
            _part(name, "start-handler", said=fresh),
        ),
        touches=frozenset({_handler_words(scene)}),
    )


def standby_probed(scene: Scene) -> Recipe:
    """Let KubeVirt's status name the standby's address."""
    place, name = scene.runtime.place, scene.cluster.name
    said = "KubeVirt's status.synchronizationAddresses names the standby"
    return Recipe(
        make=(_part(name, "advertise-standby", said=said),),
        undo=_bring_back(place, [kubevirt_file(place, name)]),
        touches=frozenset({f"KubeVirt of {name}"}),
    )
