# SPDX-License-Identifier: Apache-2.0
"""What an attachment can have in the firewall, and what is found there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from spanbridge.base.names import IfName, MacAddress
from spanbridge.model.addresses import Ip
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import PREFIX

GATEWAY_TAG: Final = f"{PREFIX}gateway"
"""Tag of what belongs to a gateway's address and no attachment owns."""


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
class GatewayPin:
    """
    ARP and neighbour discovery about gateway addresses stay among certain ports and the node.

    Attributes:
        port: The host end of the sandbox link; one of these ports.
        gateway_port: The port of the VLAN's own interface, another of them; None where
            the addresses are on the bridge itself.
        addresses: Gateway addresses, without duplicates.
    """

    port: IfName
    gateway_port: IfName | None
    addresses: tuple[Ip, ...]

    @property
    def ports(self) -> tuple[IfName, ...]:
        """Both."""
        return (self.port,) if self.gateway_port is None else (self.port, self.gateway_port)


@dataclass(frozen=True, slots=True)
class Entries:
    """
    What is there under one owner's tag.

    Attributes:
        masquerade: By source address, ascending.
        guard: None without one.
        complete: The chains and rules that make these entries work are all there.
        pins: Ports by gateway address: the owner's, and those of gateways' interfaces.
    """

    masquerade: tuple[Masquerade, ...]
    guard: SpoofGuard | None
    complete: bool
    pins: frozenset[tuple[IfName, Ip]] = frozenset()


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
class Gateway:
    """
    The ports among which a gateway address stays.

    Attributes:
        made_by: Tag of the owner whose ADD began it; empty when unknown.
        ports: With the tag of each, which is no owner's for a gateway's own interface.
    """

    made_by: str
    ports: dict[IfName, str]


@dataclass(slots=True)
class Found:
    """
    Everything in our tables, of all owners.

    Attributes:
        sources: By address.
        ports: Guarded ports, with the tag of each.
        bindings: Source MACs that a guarded port may use, with the tag of each.
        gateways: By address.
        rules: Comments of the rules, in their order, by family and chain.
        handles: What the kernel calls these rules, in the same order.
    """

    sources: dict[Ip, Source] = field(default_factory=dict)
    ports: dict[IfName, str] = field(default_factory=dict)
    bindings: dict[SpoofGuard, str] = field(default_factory=dict)
    gateways: dict[Ip, Gateway] = field(default_factory=dict)
    rules: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    handles: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)

    @property
    def tags(self) -> frozenset[str]:
        """Of all owners that hold something."""
        sources = (source.tag for source in self.sources.values())
        pins = (tag for gateway in self.gateways.values() for tag in gateway.ports.values())
        found = (*sources, *self.ports.values(), *self.bindings.values(), *pins)
        return frozenset(found) - {"", GATEWAY_TAG}

    def listed_rules(self, family: str, chain: str) -> Iterator[tuple[str, int]]:
        """List the comments and handles of a chain's rules, in their order."""
        key = family, chain
        return zip(self.rules.get(key, ()), self.handles.get(key, ()), strict=True)
