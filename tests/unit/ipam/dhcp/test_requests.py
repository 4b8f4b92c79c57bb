# SPDX-License-Identifier: Apache-2.0
"""Our messages against table 5 and section 4.3.6 of RFC 2131."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from spanbridge.ipam.dhcp.options import (
    Identity,
    decline,
    discover,
    release,
    request_rebind,
    request_reboot,
    request_renew,
    request_selecting,
)
from spanbridge.ipam.dhcp.packet import Message, parse_message, render_message

ADDRESS, SERVER, NONE = "192.168.77.20", "192.168.77.1", "0.0.0.0"  # noqa: S104
PACKED, PACKED_SERVER = bytes((192, 168, 77, 20)), bytes((192, 168, 77, 1))


class Row(NamedTuple):
    """One column of table 5: None is MUST NOT."""

    make: Callable[[Identity], Message]
    type: int
    ciaddr: str
    requested_ip: bytes | None
    server_id: bytes | None

    @property
    def asks(self) -> bool:
        """Tell whether it is a DISCOVER or REQUEST."""
        return self.type in {1, 3}


TABLE = {
    "DISCOVER": Row(lambda who: discover(who, xid=5, secs=3), 1, NONE, None, None),
    "DISCOVER-again": Row(
        lambda who: discover(who, xid=5, secs=3, address=ADDRESS), 1, NONE, PACKED, None
    ),
    "SELECTING": Row(
        lambda who: request_selecting(who, xid=5, secs=3, address=ADDRESS, server_id=SERVER),
        3, NONE, PACKED, PACKED_SERVER,
    ),
    "INIT-REBOOT": Row(
        lambda who: request_reboot(who, xid=5, secs=3, address=ADDRESS), 3, NONE, PACKED, None
    ),
    "RENEWING": Row(
        lambda who: request_renew(who, xid=5, secs=3, address=ADDRESS), 3, ADDRESS, None, None
    ),
    "REBINDING": Row(
        lambda who: request_rebind(who, xid=5, secs=3, address=ADDRESS), 3, ADDRESS, None, None
    ),
    "DECLINE": Row(
        lambda who: decline(who, xid=5, address=ADDRESS, server_id=SERVER),
        4, NONE, PACKED, PACKED_SERVER,
    ),
    "RELEASE": Row(
        lambda who: release(who, xid=5, address=ADDRESS, server_id=SERVER),
        7, ADDRESS, None, PACKED_SERVER,
    ),
}  # fmt: skip
ROWS = pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
ASKING = pytest.mark.parametrize(
    "row", [row for row in TABLE.values() if row.asks], ids=[n for n, r in TABLE.items() if r.asks]
)
ENDING = pytest.mark.parametrize("name", ["DECLINE", "RELEASE"])


@ROWS
def test_the_fields_are_those_of_table_5(row: Row, who: Identity) -> None:
    message = row.make(who)

    assert (message.op, message.xid, message.chaddr) == (1, 5, who.chaddr)
    assert (message.ciaddr, message.yiaddr, message.siaddr, message.giaddr) == (
        row.ciaddr, NONE, NONE, NONE,
    )  # fmt: skip
    assert message.options[53] == bytes((row.type,))
    assert message.options.get(50) == row.requested_ip
    assert message.options.get(54) == row.server_id
    assert message.secs == (3 if row.asks else 0)


@ROWS
def test_the_client_id_is_the_same_in_every_message(row: Row, who: Identity) -> None:
    assert row.make(who).options[61] == who.client_id


@ASKING
def test_every_request_asks_for_the_same_and_provides_the_same(row: Row, who: Identity) -> None:
    options = row.make(who).options

    assert options[55] == bytes((121, 1, 33, 3))
    assert options[57] == (1500).to_bytes(2, "big")
    assert (options[12], options[60]) == (b"pod-1", b"spanbridge")


@ENDING
def test_what_gives_an_address_up_asks_for_nothing(name: str, who: Identity) -> None:
    assert set(TABLE[name].make(who).options) <= {50, 53, 54, 61}


@ROWS
def test_the_broadcast_flag_is_set_while_there_is_no_address(row: Row, who: Identity) -> None:
    assert row.make(who).broadcast is (row.asks and row.ciaddr == NONE)


@ROWS
def test_the_broadcast_flag_is_clear_unless_asked_for(row: Row, who: Identity) -> None:
    quiet = Identity(chaddr=who.chaddr, client_id=who.client_id)

    assert not row.make(quiet).broadcast


@ROWS
def test_every_message_can_be_sent(row: Row, who: Identity) -> None:
    message = row.make(who)

    assert parse_message(render_message(message)) == message


@pytest.mark.parametrize("make", [release, decline])
def test_a_reason_may_be_given(make: Callable[..., Message], who: Identity) -> None:
    message = make(who, xid=5, address=ADDRESS, server_id=SERVER, text="address in use")

    assert message.options[56] == b"address in use"


@pytest.mark.parametrize(
    ("secs", "sent"), [(-1, 0), (65535, 65535), (65536, 65535), (10**6, 65535)]
)
def test_seconds_stop_at_the_end_of_their_field(secs: int, sent: int, who: Identity) -> None:
    assert discover(who, xid=5, secs=secs).secs == sent


def test_an_empty_list_of_options_is_not_sent(who: Identity) -> None:
    message = discover(Identity(chaddr=who.chaddr, client_id=who.client_id), xid=5)

    assert 55 not in message.options
