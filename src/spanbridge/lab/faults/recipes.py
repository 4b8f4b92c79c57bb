# SPDX-License-Identifier: Apache-2.0
"""
What a fault is made of: steps that make it, and those that take it back, as data.

A step is written down before the first one is taken, so that a fault can be undone by
another command, also after a crash. Each step that undoes must therefore be fine with
what is undone already, or was never done.
"""

import enum
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import (
    DHCP_NETNS,
    FABRIC_NETNS,
    NETNS_PREFIX,
    Cluster,
    Node,
    Pod,
)


class Scope(enum.StrEnum):
    """What a fault strikes, and what can be named to choose another place."""

    NODE = "node"
    CLUSTER = "cluster"
    LINK = "two clusters"
    LAB = "the whole lab"


class Kind(enum.StrEnum):
    """What a step does."""

    RUN = "run"
    """Runs the program ``words`` in the namespace ``where``, with ``text`` as its input."""
    NETNS = "netns"
    """Makes the namespace ``where``, or with the words ``delete`` removes it."""
    AGENT = "agent"
    """``kill`` or ``start`` the agent of the node ``where``."""
    POD = "pod"
    """``detach`` or ``attach`` the virt-handler of the node ``where``."""
    PART = "part"
    """Does ``words`` to a stand-in or to the certificates of ``where``; see `parts`."""
    FILE = "file"
    """Gives a file below the state directory ``where`` the content ``text``, in base64."""


@dataclass(frozen=True, slots=True)
class Step:
    """
    One thing that is done.

    Attributes:
        kind: Which.
        where: Namespace, node or file.
        words: The command, or what is to be done.
        text: Input.
        said: How an administrator would say it; empty where the command says it.
        already: What a failing program says when there is nothing left to do.
    """

    kind: Kind
    where: str
    words: tuple[str, ...] = ()
    text: str = ""
    said: str = ""
    already: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{place_words(self.where)}: {self.said or shlex.join(self.words)}"

    def render(self) -> dict[str, Any]:
        """Make its JSON object."""
        return asdict(self)


def parse_step(document: dict[str, Any]) -> Step:
    """Read the JSON object of a step."""
    lists = {key: tuple(document[key]) for key in ("words", "already")}
    return Step(**document | lists | {"kind": Kind(document["kind"])})


def place_words(where: str) -> str:
    """Name a namespace in a sentence."""
    if where in {FABRIC_NETNS, DHCP_NETNS}:
        return "in the fabric" if where == FABRIC_NETNS else "on the DHCP server"
    node, dot, pod = where.removeprefix(NETNS_PREFIX).partition(".")
    return f"in the {pod} of {node}" if dot else f"on {node}"


@dataclass(frozen=True, slots=True)
class Recipe:
    """
    A fault at one place.

    Attributes:
        make: Steps that make it.
        undo: Steps that take it back.
        touches: What it changes; two faults that change the same cannot be told apart
            again.
        sites: Nodes that have to be whole again afterwards, by name.
    """

    make: tuple[Step, ...]
    undo: tuple[Step, ...]
    touches: frozenset[str]
    sites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """
    Where a fault strikes.

    Attributes:
        runtime: Of the lab.
        nodes: The node, or all of the cluster, or of the lab.
        clusters: The cluster of the node, the cluster, or the two.
    """

    runtime: Runtime
    nodes: tuple[Node, ...]
    clusters: tuple[Cluster, ...]

    @property
    def node(self) -> Node:
        """The node, or the first one."""
        return self.nodes[0]

    @property
    def cluster(self) -> Cluster:
        """The cluster, or the first of two."""
        return self.clusters[0]

    @property
    def pod(self) -> Pod:
        """The virt-handler of the node."""
        return self.node.handler

    def others(self, *clusters: Cluster) -> tuple[Node, ...]:
        """Every node of other clusters."""
        return tuple(
            node
            for each in self.runtime.lab.clusters
            if each not in clusters
            for node in each.nodes
        )


Plan = Callable[[Scene], Recipe]
"""Looks at what is there, and tells what to do; changes nothing."""


@dataclass(frozen=True, slots=True)
class Fault:
    """
    A fault that a lab can be given.

    Attributes:
        name: As it is typed.
        rows: Of the table of failures, docs/reference/failures.md.
        text: What happens, in one sentence.
        scope: What it strikes.
        code: Of the cause that `spanbridge verify` must name first.
        plan: See `Plan`.
        pair_code: The same in a lab of two clusters, where it differs.
        needs: What the kernel must have; empty for nothing special.
        standins: Whether it is about the stand-ins of KubeVirt's pods, which run then.
    """

    name: str
    rows: tuple[int, ...]
    text: str
    scope: Scope
    code: str
    plan: Plan
    pair_code: str = ""
    needs: str = ""
    standins: bool = False

    def code_in(self, clusters: int) -> str:
        """Tell the code in a lab of so many clusters."""
        return self.pair_code if self.pair_code and clusters == _PAIR else self.code


_PAIR: Final = 2


def run(where: str, *words: str, already: tuple[str, ...] = (), text: str = "") -> Step:
    """Make a step that runs a program in a namespace."""
    return Step(Kind.RUN, where, words, text=text, already=already)


def sh(where: str, line: str, *, already: tuple[str, ...] = ()) -> Step:
    """Make a step of a command line without anything that a shell would do."""
    return run(where, *shlex.split(line), already=already)
