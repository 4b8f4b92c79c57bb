# SPDX-License-Identifier: Apache-2.0
"""Elements that go straight to the kernel, beside the same ones made by libnftables."""

import errno
from collections.abc import Callable
from typing import Any, Final

import pytest

from spanbridge.base.names import IfName, MacAddress
from spanbridge.firewall import SpoofGuard, gateways, ruleset, session
from spanbridge.firewall.ruleset import Command
from spanbridge.model.addresses import Cidr, parse_cidr, parse_ip
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import AskTool, Netns

Sets = Callable[[], dict[tuple[str, str], Any]]

OWNER: Final = Owner.of("blue", "c" * 90, "eth0")  # a comment that is cut
GUARD: Final = SpoofGuard(IfName("vethabcdef01234"), MacAddress("02:00:00:00:00:01"))
GATEWAY: Final = parse_ip("10.1.2.1", "")


def masquerade(text: str) -> Masquerade:
    address = parse_cidr(text, "")
    return Masquerade(address.ip, address.network)


FOUR: Final = masquerade("10.1.2.5/24")
SIX: Final = masquerade("fd00:88::5/64")
NETWORKS: Final[tuple[Cidr, ...]] = (FOUR.network, SIX.network)

ELEMENTS: Final[list[Command]] = [
    ruleset.create_source(OWNER, FOUR),
    ruleset.create_source(OWNER, SIX),
    ruleset.create_port(OWNER, GUARD),
    ruleset.create_binding(OWNER, GUARD),
    gateways.create_pin(OWNER, GATEWAY, GUARD.port),
    gateways.add_gateway_port(GATEWAY, "veth1"),
]
REMOVAL: Final[list[Command]] = [
    ruleset.delete_source(FOUR.source, ruleset.network_chain_name(FOUR.network)),
    ruleset.delete_source(SIX.source, ruleset.network_chain_name(SIX.network)),
    ruleset.delete_port(GUARD.port),
    ruleset.delete_binding(GUARD),
    gateways.delete_pin(GATEWAY, GUARD.port),
    gateways.delete_pin(GATEWAY, "veth1"),
]


@pytest.fixture
def context(host: NetNs) -> session._Context:
    """A context of the node, where our tables are, without an attachment."""
    made = host.run(session._Context)
    made.run(ruleset.table(NETWORKS, guarding=True))
    made.run([*gateways.structure(), *gateways.create_gateway(GATEWAY, OWNER)])
    return made


@pytest.fixture
def sets(nft_json: AskTool, node: Netns) -> Sets:
    """Ask nft for what our sets and maps hold, by family and name."""

    def ask() -> dict[tuple[str, str], Any]:
        listed = nft_json("list", "ruleset", netns=node)
        found = [each.get("set") or each.get("map") for each in listed]
        return {(each["family"], each["name"]): each.get("elem", []) for each in found if each}

    return ask


def test_the_kernel_gets_the_same_elements_as_from_libnftables(
    context: session._Context, sets: Sets
) -> None:
    before = sets()
    context.run(ELEMENTS)
    by_library = sets()
    context.run(REMOVAL)

    context.put(ELEMENTS)

    assert sets() == by_library != before


def test_they_are_removed_by_key(context: session._Context, sets: Sets) -> None:
    before = sets()
    context.run(ELEMENTS)

    context.put(REMOVAL)

    assert sets() == before


@pytest.mark.parametrize("refused", ["first", "last"])
def test_one_refusal_refuses_all(context: session._Context, sets: Sets, refused: str) -> None:
    context.put(ELEMENTS[2:3])
    before = sets()
    others = [ELEMENTS[3], ELEMENTS[4]]
    batch = [ELEMENTS[2], *others] if refused == "first" else [*others, ELEMENTS[2]]

    with pytest.raises(session.RefusedError) as caught:
        context.put(batch)

    assert caught.value.errno == errno.EEXIST
    assert sets() == before


def test_what_is_not_there_cannot_be_removed(context: session._Context) -> None:
    with pytest.raises(session.RefusedError) as caught:
        context.put(REMOVAL[4:5])

    assert caught.value.errno == errno.ENOENT


def test_a_refusal_leaves_the_socket_usable(context: session._Context, sets: Sets) -> None:
    with pytest.raises(session.RefusedError):
        context.put(REMOVAL)

    context.put(ELEMENTS[2:3])

    assert sets()["bridge", "guarded"]
