# SPDX-License-Identifier: Apache-2.0
"""Sockets that are kept for their next user."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spanbridge.base.errors import KernelError
from spanbridge.rtnl import NetNs, Rtnl, set_link, transport
from spanbridge.testing.plugin import Netns


@pytest.fixture
def spares(monkeypatch: pytest.MonkeyPatch) -> Iterator[transport.Spares]:
    kept = transport.Spares()
    kept.keep(1)
    monkeypatch.setattr(transport, "SPARES", kept)
    yield kept
    while (found := kept.take()) is not None:
        found[0].close()


@pytest.fixture
def here() -> Iterator[NetNs]:
    with NetNs.current() as opened:
        yield opened


def descriptors() -> set[str]:
    """Name what this process has open as the kernel does; a socket by its inode."""
    return {str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()}


@pytest.mark.usefixtures("spares")
def test_the_next_user_gets_the_same_socket(here: NetNs) -> None:
    with Rtnl.open(here) as first:
        assert first.link("lo") is not None
        before = descriptors()
    with Rtnl.open(here) as second:
        assert second.link("lo") is not None
        assert descriptors() == before


@pytest.mark.usefixtures("spares")
def test_a_refusal_of_the_first_user_is_not_told_to_the_second(here: NetNs) -> None:
    with Rtnl.open(here) as first, pytest.raises(KernelError):
        first.request(set_link("absent", up=True))
    with Rtnl.open(here) as second:
        second.request(set_link("lo", up=True))


@pytest.mark.usefixtures("spares")
def test_a_socket_that_was_closed_is_closed_for_its_user(here: NetNs) -> None:
    with Rtnl.open(here) as first:
        pass

    with pytest.raises(KernelError):
        first.link("lo")


def test_no_more_are_kept_than_wanted(spares: transport.Spares, here: NetNs) -> None:
    with Rtnl.open(here), Rtnl.open(here):
        pass

    found = spares.take()
    assert found is not None
    found[0].close()
    assert spares.take() is None


def test_another_namespace_is_not_kept_alive(spares: transport.Spares, node: Netns) -> None:
    with NetNs.open(str(node.path)) as other, Rtnl.open(other) as socket:
        assert socket.link("lo") is not None

    assert spares.take() is None
