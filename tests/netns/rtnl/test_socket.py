# SPDX-License-Identifier: Apache-2.0
"""Batches, errors in them, interrupted and overrun dumps."""

import errno
import socket
import threading

import pytest

from spanbridge.base.errors import KernelError, NodeError, RetryError
from spanbridge.rtnl import (
    NetNs,
    Rtnl,
    RtnlError,
    del_link,
    new_bridge,
    new_veth,
    set_link,
    transport,
)
from spanbridge.testing.plugin import AskTool, Netns


def names(ip_json: AskTool, node: Netns) -> set[str]:
    return {str(link["ifname"]) for link in ip_json("link", netns=node)} - {"lo"}


def test_an_error_in_a_batch_names_the_message(host: Rtnl) -> None:
    with pytest.raises(RtnlError, match=r"^cannot set link nothing: No such device") as caught:
        host.request(new_bridge("br0"), set_link("nothing", up=True), new_bridge("br1"))

    assert isinstance(caught.value, KernelError)
    assert (caught.value.errno, caught.value.index) == (errno.ENODEV, 1)
    assert caught.value.applied == (0, 2)


def test_an_error_in_a_batch_leaves_the_socket_usable(
    host: Rtnl, node: Netns, ip_json: AskTool
) -> None:
    for _ in range(3):
        with pytest.raises(RtnlError):
            host.request(del_link(name="a"), del_link(name="b"), del_link(name="c"))
    host.request(new_bridge("br0"))

    assert host.link("br0") is not None
    assert names(ip_json, node) == {"br0"}


def test_the_kernel_goes_on_after_an_error(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    with pytest.raises(RtnlError):
        host.request(del_link(name="nothing"), new_bridge("br1"))

    assert names(ip_json, node) == {"br1"}


def test_one_by_one_stops_at_an_error(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    with pytest.raises(RtnlError) as caught:
        host.request(
            new_bridge("br0"), del_link(name="nothing"), new_bridge("br1"), one_by_one=True
        )

    assert (caught.value.index, caught.value.applied) == (1, (0,))
    assert names(ip_json, node) == {"br0"}


def test_a_tolerated_error_is_a_result(host: Rtnl) -> None:
    found = host.request(
        new_bridge("br0"), new_bridge("br0"), set_link("br0", up=True), tolerate={errno.EEXIST}
    )

    assert found == (0, errno.EEXIST, 0)


def test_no_message_is_no_request(host: Rtnl) -> None:
    assert host.request() == ()


def test_a_large_batch_goes_in_parts(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    many = [set_link("lo", alias=str(at)) for at in range(1000)]
    assert host.request(*many) == (0,) * 1000

    assert ip_json("link", "show", "lo", netns=node)[0]["ifalias"] == "999"


def test_the_kernels_words_are_in_the_error(host: Rtnl) -> None:
    host.request(new_bridge("br0"), new_bridge("br1"))
    inner = host.link("br1")
    assert inner is not None

    with pytest.raises(RtnlError, match="Can not enslave a bridge to a bridge"):
        host.request(set_link("br0", master=inner.index))


def test_a_closed_socket_says_so(node_ns: NetNs) -> None:
    rtnl = Rtnl.open(node_ns)
    rtnl.close()
    rtnl.close()

    with pytest.raises(NodeError):
        rtnl.link("lo")


def test_a_dump_survives_changes_at_the_same_time(host: Rtnl, node_ns: NetNs) -> None:
    host.request(*[new_veth(f"a{at}", peer=f"b{at}", group=77) for at in range(60)])
    stop = threading.Event()

    def change() -> None:
        with Rtnl.open(node_ns) as other:
            while not stop.is_set():
                other.request(new_bridge("br0"), del_link(name="br0"))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(5):
            found = [link.name for link in host.links(kind="veth")]
            assert len(found) == len(set(found)) == 120
    finally:
        stop.set()
        thread.join()
    host.request(del_link(group=77))


def test_lost_answers_are_reported_and_the_socket_recovers(
    node_ns: NetNs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "BATCH_MESSAGES", 2000)
    with Rtnl.open(node_ns) as rtnl:
        rtnl._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(RetryError, match="answers of the kernel were lost"):
            rtnl.request(*[set_link("missing", up=True)] * 500)

        assert rtnl.link("lo") is not None


def test_a_forever_interrupted_dump_is_given_up(
    host: Rtnl, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []
    monkeypatch.setattr(transport.Transport, "_dump_once", lambda *_: attempts.append(1))

    with pytest.raises(RetryError, match="cannot list links: it changed during each of 8 attempts"):
        host.links()
    assert len(attempts) == transport.DUMP_ATTEMPTS
