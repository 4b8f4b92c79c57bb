# SPDX-License-Identifier: Apache-2.0
"""What libnftables says, and what happens without it."""

import errno

import pytest

from spanbridge import firewall
from spanbridge.base import log
from spanbridge.base.errors import Code, NodeError, NotReadyError
from spanbridge.base.names import IfName, MacAddress
from spanbridge.firewall import GatewayPin, SpoofGuard, session
from spanbridge.model.addresses import parse_ip
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs

OWNER = Owner.of("blue", "c1", "eth0")


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_LIBRARY", "libabsent.so.1")


@pytest.mark.parametrize(
    ("said", "number", "words"),
    [
        (
            "internal:0:0-0: Error: Could not process rule: File exists\n\n",
            errno.EEXIST,
            "File exists",
        ),
        (
            "internal:0:0-0: Error: No such file or directory; did you mean map 'x'?\n",
            errno.ENOENT,
            "No such file or directory; did you mean map 'x'?",
        ),
        (
            "internal:0:0-0: Error: Could not process rule: Device or resource busy\n",
            errno.EBUSY,
            "Device or resource busy",
        ),
        (
            "internal:0:0-0: Error: Interrupted system call should be restarted\n",
            errno.EINTR,
            "Interrupted system call should be restarted",
        ),
        ("Error: syntax error\n", 0, "syntax error"),
        ("", 0, "libnftables gives no reason"),
    ],
)
def test_a_refusal_is_understood(said: str, number: int, words: str) -> None:
    refused = session.RefusedError(said)

    assert (refused.errno, refused.words) == (number, words)


@pytest.mark.usefixtures("no_library")
def test_without_library_it_is_not_available() -> None:
    assert not firewall.is_available()


@pytest.mark.usefixtures("no_library")
def test_without_library_reading_names_what_to_install() -> None:
    with NetNs.current() as host, pytest.raises(NodeError, match="cannot load libnftables") as seen:
        firewall.observe(host, OWNER)

    assert seen.value.code == Code.FIREWALL
    assert "libnftables1" in seen.value.hint


@pytest.mark.usefixtures("no_library")
def test_without_library_status_says_not_ready() -> None:
    with NetNs.current() as host, pytest.raises(NotReadyError) as seen:
        firewall.probe(host)

    assert seen.value.code == Code.NOT_AVAILABLE
    assert "libnftables1" in seen.value.hint


@pytest.mark.usefixtures("no_library")
def test_without_library_a_release_warns_only(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(log, "sink", lambda _level, event, _fields: warnings.append(event))

    with NetNs.current() as host:
        assert not firewall.release(host, OWNER)

    assert len(warnings) == 1


@pytest.mark.usefixtures("no_library")
def test_nothing_wanted_needs_no_library() -> None:
    with NetNs.current() as host:
        firewall.ensure(host, OWNER, masquerade=(), guard=None)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged, as one text each."""
    said: list[str] = []
    monkeypatch.setattr(log, "sink", lambda _, event, fields: said.append(f"{event} {fields}"))
    return said


@pytest.mark.usefixtures("no_library")
def test_without_library_a_gateway_is_made_with_a_warning(warnings: list[str]) -> None:
    pin = GatewayPin(IfName("veth1"), None, (parse_ip("10.1.2.1", ""),))

    with NetNs.current() as host:
        firewall.ensure(host, OWNER, masquerade=(), guard=None, pin=pin)
        firewall.unpin(host, pin.addresses)
        firewall.probe_gateways(host)

    assert len(warnings) == 2
    assert "10.1.2.1" in warnings[0]
    assert all("cannot load libnftables" in each for each in warnings)


@pytest.mark.usefixtures("no_library", "warnings")
def test_without_library_a_gateway_with_mac_check_is_refused() -> None:
    pin = GatewayPin(IfName("veth1"), None, (parse_ip("10.1.2.1", ""),))
    guard = SpoofGuard(pin.port, MacAddress("02:00:00:00:00:01"))

    with NetNs.current() as host, pytest.raises(NodeError, match="cannot load libnftables"):
        firewall.ensure(host, OWNER, masquerade=(), guard=guard, pin=pin)
