# SPDX-License-Identifier: Apache-2.0
"""Cut and random bytes: a parser gives an object or raises WireError, nothing else."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.rtnl import WireError
from spanbridge.rtnl.addresses import parse_address
from spanbridge.rtnl.links import parse_index, parse_link
from spanbridge.rtnl.neighbours import parse_neighbour
from spanbridge.rtnl.routes import parse_route
from spanbridge.rtnl.vlans import parse_af_spec, parse_vlan_entries
from spanbridge.rtnl.wire import NLMSG_DONE, NLMSG_ERROR, Reply, parse_error, parse_replies


def parse_all_of_link(body: bytes) -> object:
    link = parse_link(body)
    return link, link.bridge, link.port, link.vlan_id


PARSERS: Final[dict[int, Callable[[bytes], object]]] = {
    16: parse_all_of_link,
    20: parse_address,
    24: parse_route,
    28: parse_neighbour,
    112: parse_vlan_entries,
}
CAPTURES: Final = sorted((Path(__file__).parent / "captures").glob("*/*.hex"))
BODY_CUTS: Final = 1000
"""Cuts per capture at most: long dumps repeat themselves."""


def content(path: Path) -> bytes:
    return bytes.fromhex("".join(path.read_text().splitlines()[1:]))


def parse(reply: Reply) -> None:
    with contextlib.suppress(WireError):
        if reply.type in {NLMSG_ERROR, NLMSG_DONE}:
            parse_error(reply)
        else:
            PARSERS[reply.type](reply.body)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_datagram_may_end_anywhere(path: Path) -> None:
    data = content(path)[:BODY_CUTS]
    for end in range(len(data)):
        with contextlib.suppress(WireError):
            # A list: all of the generator has to run.
            list(parse_replies(data[:end]))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_body_may_end_anywhere(path: Path) -> None:
    cuts = 0
    for reply in parse_replies(content(path)):
        for end in range(len(reply.body)):
            parse(Reply(reply.type, reply.flags, reply.sequence, reply.body[:end]))
        cuts += len(reply.body)
        if cuts > BODY_CUTS:
            break


@given(data=st.data())
def test_a_byte_of_a_capture_may_be_any(data: st.DataObject) -> None:
    replies = list(parse_replies(content(data.draw(st.sampled_from(CAPTURES)))))
    reply = data.draw(st.sampled_from(replies))
    body = bytearray(reply.body)
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    parse(Reply(reply.type, reply.flags, reply.sequence, bytes(body)))


@pytest.mark.parametrize(
    "parser",
    [*PARSERS.values(), parse_index, parse_af_spec],
    ids=lambda parser: str(parser.__name__),
)
@given(body=st.binary(max_size=200))
def test_a_body_may_be_random(parser: Callable[[bytes], object], body: bytes) -> None:
    with contextlib.suppress(WireError):
        parser(body)


@given(flags=st.integers(0, 0xFFFF), kind=st.sampled_from([2, 3]), body=st.binary(max_size=100))
def test_an_acknowledgement_may_be_random(flags: int, kind: int, body: bytes) -> None:
    parse(Reply(kind, flags, 1, body))
