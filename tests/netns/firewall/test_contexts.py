# SPDX-License-Identifier: Apache-2.0
"""What is kept open, and what the kernel refuses to open."""

import os
import resource
import time
from collections.abc import Iterator

import pytest

from spanbridge import firewall
from spanbridge.base.errors import Code, NodeError, NotReadyError
from spanbridge.firewall import session
from spanbridge.model.addresses import parse_cidr
from spanbridge.model.desired import Masquerade
from spanbridge.model.owner import Owner
from spanbridge.rtnl import NetNs
from spanbridge.testing.plugin import MakeNetns

OWNER = Owner.of("blue", "c1", "eth0")
ADDRESS = parse_cidr("10.1.2.5/24", "")
ENTRY = Masquerade(ADDRESS.ip, ADDRESS.network)


@pytest.fixture
def no_descriptors(host: NetNs) -> Iterator[None]:
    """Use up what the process may open."""
    assert host.fd >= 0
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    firewall.is_available()  # what is imported later would need descriptors
    session._contexts.clear()
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_namespaces_are_kept_apart(host: NetNs, netns: MakeNetns) -> None:
    with NetNs.open(str(netns("other").path)) as other:
        firewall.ensure(host, OWNER, masquerade=(ENTRY,), guard=None)

        assert firewall.observe(other, OWNER).masquerade == ()
        assert not firewall.release(other, OWNER)
        assert firewall.observe(host, OWNER).masquerade == (ENTRY,)


def test_an_idle_context_is_closed(host: NetNs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_IDLE_S", 0.05)
    deadline = time.monotonic() + 5
    while session._closer and time.monotonic() < deadline:  # one of an earlier test
        time.sleep(0.02)
    firewall.observe(host, OWNER)
    assert session._contexts

    while session._contexts and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not session._contexts


def test_contexts_do_not_pile_up(netns: MakeNetns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_MAX_CONTEXTS", 2)
    for _ in range(4):
        with NetNs.open(str(netns("other").path)) as other:
            firewall.observe(other, OWNER)

    assert len(session._contexts) == 2


@pytest.mark.usefixtures("no_descriptors")
def test_without_descriptors_it_is_an_error_and_not_the_end(host: NetNs) -> None:
    with pytest.raises(NodeError, match="cannot open nftables: Too many open files") as seen:
        firewall.observe(host, OWNER)

    assert seen.value.code == Code.FIREWALL


@pytest.mark.usefixtures("no_descriptors")
def test_status_says_it_too(host: NetNs) -> None:
    with pytest.raises(NotReadyError) as seen:
        firewall.probe(host)

    assert seen.value.code == Code.NOT_AVAILABLE


def test_a_lock_that_cannot_be_made_is_named(host: NetNs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPANBRIDGE_RUN", "/dev/null/run")

    with pytest.raises(NodeError, match="cannot lock /dev/null/run/firewall-") as seen:
        firewall.ensure(host, OWNER, masquerade=(ENTRY,), guard=None)
    assert "SPANBRIDGE_RUN" in seen.value.hint
