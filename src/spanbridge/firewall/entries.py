# SPDX-License-Identifier: Apache-2.0
"""What an attachment can have in the firewall, and what is found there."""

from dataclasses import dataclass, field

from spanbridge.base.names import IfName, MacAddress
from spanbridge.model.addresses import Ip
from spanbridge.model.desired import Masquerade


@dataclass(frozen=True, slots=True)
class SpoofGuard:
    """
    Frames that enter the bridge by ``port`` carry ``mac`` as source, or are dropped.

    Attributes:
        port: The host end of the sandbox link.
        mac: The sandbox link's own address.
    """

    port: IfName
    mac: MacAddress


@dataclass(frozen=True, slots=True)
class Entries:
    """
    What is there under one owner's tag.

    Attributes:
        masquerade: By source address, ascending.
        guard: None without one.
        complete: The chains and rules that make these entries work are all there.
    """

    masquerade: tuple[Masquerade, ...]
    guard: SpoofGuard | None
    complete: bool


@dataclass(frozen=True, slots=True)
class Source:
    """
    A masqueraded address.

    Attributes:
        chain: Of the network that it reaches without masquerade.
        tag: Owner's tag; empty when a stranger made the element.
    """

    chain: str
    tag: str


@dataclass(slots=True)
class Found:
    """
    Everything in our tables, of all owners.

    Attributes:
        sources: By address.
        ports: Guarded ports, with the tag of each.
        bindings: Source MACs that a guarded port may use, with the tag of each.
        rules: Comments of the rules, in their order, by family and chain.
    """

    sources: dict[Ip, Source] = field(default_factory=dict)
    ports: dict[IfName, str] = field(default_factory=dict)
    bindings: dict[SpoofGuard, str] = field(default_factory=dict)
    rules: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    @property
    def tags(self) -> frozenset[str]:
        """Of all owners that hold something."""
        sources = (source.tag for source in self.sources.values())
        return frozenset((*sources, *self.ports.values(), *self.bindings.values())) - {""}
