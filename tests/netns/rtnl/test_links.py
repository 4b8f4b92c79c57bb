# SPDX-License-Identifier: Apache-2.0
"""Links made, changed and removed by us, as ``ip`` sees them."""

import errno
import time

import pytest

from spanbridge.rtnl import (
    NOOP,
    Link,
    NetNs,
    Rtnl,
    RtnlError,
    del_link,
    forget_qdisc,
    new_bridge,
    new_veth,
    set_bridge,
    set_link,
    set_port,
)
from spanbridge.testing.plugin import AskTool, Netns, run


def made(rtnl: Rtnl, name: str) -> Link:
    link = rtnl.link(name)
    assert link is not None
    return link


def test_a_bridge_is_made_as_wanted(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(new_bridge("br0", mac="02:00:00:00:00:01", mtu=1400, group=9, up=True))

    (seen,) = ip_json("link", "show", "br0", netns=node)
    assert seen["linkinfo"]["info_kind"] == "bridge"
    assert (seen["address"], seen["mtu"], seen["group"]) == ("02:00:00:00:00:01", 1400, "9")
    assert "UP" in seen["flags"]


def test_a_second_bridge_of_the_name_is_refused(host: Rtnl) -> None:
    host.request(new_bridge("br0"))

    with pytest.raises(RtnlError, match=r"^cannot add bridge br0: ") as caught:
        host.request(new_bridge("br0"))
    assert caught.value.errno == errno.EEXIST


def test_a_bridge_is_changed(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(new_bridge("br0"))
    host.request(set_bridge("br0", stp_state=1, forward_delay_s=4, ageing_time_s=60))

    (seen,) = ip_json("link", "show", "br0", netns=node)
    data = seen["linkinfo"]["info_data"]
    assert (data["stp_state"], data["forward_delay"], data["ageing_time"]) == (1, 400, 6000)


@pytest.mark.parametrize("learns", [True, False])
def test_a_bridge_is_told_what_to_learn_from(host: Rtnl, node: Netns, *, learns: bool) -> None:
    host.request(new_bridge("br0"))
    for each in (not learns, learns):
        host.request(set_bridge("br0", linklocal_learning=each))

    seen = host.link("br0")
    assert seen is not None
    assert seen.bridge is not None
    assert seen.bridge.linklocal_learning is learns
    text = node.run("ip", "-d", "link", "show", "br0")
    assert f"no_linklocal_learn {int(not learns)}" in text


def test_a_pair_spans_two_namespaces(
    host: Rtnl, pod_ns: NetNs, node: Netns, pod: Netns, ip_json: AskTool
) -> None:
    host.request(new_bridge("br0", up=True))
    host.request(
        new_veth(
            "port",
            peer="eth0",
            mac="02:00:00:00:00:02",
            peer_mac="02:00:00:00:00:03",
            mtu=1400,
            master=made(host, "br0").index,
            txqlen=0,
            group=3,
            up=True,
            peer_netns=pod_ns,
        )
    )

    (near,) = ip_json("link", "show", "port", netns=node)
    (far,) = ip_json("link", "show", "eth0", netns=pod)
    assert (near["address"], near["mtu"], near["master"]) == ("02:00:00:00:00:02", 1400, "br0")
    assert (near["group"], near.get("txqlen", 0), "UP" in near["flags"]) == ("3", 0, True)
    assert (far["address"], far["mtu"], "UP" in far["flags"]) == ("02:00:00:00:00:03", 1400, False)


def test_a_pair_knows_its_other_end(host: Rtnl, inside: Rtnl, pod_ns: NetNs) -> None:
    host.request(new_veth("port", peer="eth0", peer_netns=pod_ns))
    near, far = made(host, "port"), made(inside, "eth0")

    assert (near.link, far.link) == (far.index, near.index)
    assert near.link_netnsid is not None


def test_a_link_is_changed(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(new_veth("a", peer="b"))
    host.request(
        set_link(
            made(host, "a").index,
            up=True,
            mtu=1300,
            mac="02:00:00:00:00:07",
            promisc=True,
            group=5,
            alias="an alias",
            txqlen=77,
        )
    )

    (seen,) = ip_json("link", "show", "a", netns=node)
    assert (seen["mtu"], seen["address"], seen["group"]) == (1300, "02:00:00:00:00:07", "5")
    assert (seen["ifalias"], seen["txqlen"]) == ("an alias", 77)
    assert {"UP", "PROMISC"} <= set(seen["flags"])


def test_what_ip_changes_is_read(host: Rtnl, node: Netns) -> None:
    node.run("ip", "link", "add", "name", "a", "type", "veth", "peer", "name", "b")
    node.run(
        "ip",
        "link",
        "set",
        "dev",
        "a",
        "alias",
        "theirs",
        "group",
        "8",
        "promisc",
        "on",
        "mtu",
        "1200",
    )
    link = made(host, "a")

    assert (link.alias, link.group, link.promisc, link.mtu) == ("theirs", 8, True, 1200)
    assert (link.up, link.operstate) == (False, "down")


def test_an_empty_alias_removes_it(host: Rtnl) -> None:
    host.request(new_veth("a", peer="b"), set_link("a", alias="x"))
    host.request(set_link("a", alias=""))

    assert made(host, "a").alias == ""


def test_a_link_is_renamed(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(new_veth("a", peer="b"))
    host.request(set_link(made(host, "a").index, name="c"))

    assert {link["ifname"] for link in ip_json("link", netns=node)} == {"lo", "b", "c"}


def test_a_link_moves_to_another_namespace(
    host: Rtnl, pod_ns: NetNs, pod: Netns, ip_json: AskTool
) -> None:
    host.request(new_veth("a", peer="b"), set_link("b", netns=pod_ns))

    assert {link["ifname"] for link in ip_json("link", netns=pod)} == {"lo", "b"}
    assert host.link("b") is None


def test_a_port_joins_and_leaves(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(new_bridge("br0"), new_veth("a", peer="b"))
    host.request(set_link("a", master=made(host, "br0").index))
    assert ip_json("link", "show", "a", netns=node)[0]["master"] == "br0"

    host.request(set_link("a", master=0))
    assert "master" not in ip_json("link", "show", "a", netns=node)[0]


def test_a_port_is_changed_in_the_batch_that_makes_it(
    host: Rtnl, node: Netns, ip_json: AskTool
) -> None:
    host.request(new_bridge("br0"))
    host.request(
        new_veth("a", peer="b", master=made(host, "br0").index),
        set_port("a", hairpin=True, isolated=True, learning=False, guard=True, neigh_suppress=True),
    )

    (seen,) = ip_json("link", "show", "a", netns=node)
    data = seen["linkinfo"]["info_slave_data"]
    assert (data["hairpin"], data["isolated"], data["learning"]) == (True, True, False)
    assert (data["guard"], data["neigh_suppress"]) == (True, True)


def test_a_group_is_deleted_at_once(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(*[new_veth(f"a{at}", peer=f"b{at}", group=77) for at in range(20)])
    host.request(new_veth("kept", peer="peer"))
    host.request(del_link(group=77))

    assert {link["ifname"] for link in ip_json("link", netns=node)} == {"lo", "kept", "peer"}


@pytest.mark.parametrize("how", ["name", "index"])
def test_a_link_is_deleted(host: Rtnl, how: str) -> None:
    host.request(new_veth("a", peer="b"))
    host.request(del_link(name="a") if how == "name" else del_link(index=made(host, "a").index))

    assert host.link("a") is None


def test_links_are_listed_by_master_kind_and_group(host: Rtnl) -> None:
    host.request(new_bridge("br0"), new_veth("a", peer="b", group=4))
    bridge = made(host, "br0").index
    host.request(set_link("b", master=bridge))

    assert [link.name for link in host.links(master=bridge)] == ["b"]
    assert [link.name for link in host.links(kind="bridge")] == ["br0"]
    assert [link.name for link in host.links(group=4)] == ["a"]
    assert {link.name for link in host.links(kind="veth", master=0)} == {"a"}
    assert {link.name for link in host.links()} == {"lo", "br0", "a", "b"}


def test_five_hundred_links_are_listed(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(*[new_veth(f"a{at}", peer=f"b{at}", group=77) for at in range(250)])

    expected = {link["ifname"]: link["ifindex"] for link in ip_json("link", netns=node)}
    assert len(expected) == 501
    assert {link.name: link.index for link in host.links()} == expected
    host.request(del_link(group=77))


def test_an_absent_link_is_none(host: Rtnl) -> None:
    assert host.link("nothing") is None
    assert host.link(4711) is None
    assert host.link_index("nothing") is None


def test_several_links_are_found_by_one_question(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(new_bridge("br0"), new_bridge("br1"))
    seen = {each["ifname"]: each["ifindex"] for each in ip_json("link", netns=node)}

    found = host.links_named(["br1", "none", "br0", "nobody"])

    assert [each and each.index for each in found] == [seen["br1"], None, seen["br0"], None]


def test_the_index_alone_is_found(host: Rtnl, node: Netns, ip_json: AskTool) -> None:
    host.request(new_bridge("br0"))

    assert host.link_index("br0") == ip_json("link", "show", "br0", netns=node)[0]["ifindex"]


def test_a_link_is_waited_for(host: Rtnl, node: Netns) -> None:
    host.request(new_bridge("br0", up=True))
    host.request(new_veth("a", peer="b", master=made(host, "br0").index, up=True))
    run("ip", "-n", node.name, "link", "set", "dev", "b", "up")
    seen = host.wait_link(
        made(host, "a").index,
        lambda link: link.port is not None and link.port.forwarding,
        timeout_s=5,
    )

    assert seen is not None
    assert seen.operstate == "up"


def test_waiting_ends(host: Rtnl) -> None:
    host.request(new_bridge("br0"))
    start = time.monotonic()
    seen = host.wait_link(made(host, "br0").index, lambda link: link.up, timeout_s=0.1)

    assert 0.1 <= time.monotonic() - start < 5
    assert seen is not None
    assert not seen.up


def test_waiting_for_a_link_that_is_gone_is_over_at_once(host: Rtnl) -> None:
    assert host.wait_link(4711, lambda _: True, timeout_s=10) is None


def test_a_kernel_without_vlans_lists_none(host: Rtnl) -> None:
    host.request(new_bridge("br0"), new_veth("a", peer="b"))
    host.request(set_link("a", master=made(host, "br0").index))

    # On a kernel with the feature a bridge carries its default VLAN even unfiltered.
    assert set(host.vlans()) <= {made(host, "a").index, made(host, "br0").index}
    assert host.port_vlans(made(host, "b").index) == ()
    assert {link.name for link in host.links(vlans=True)} == {"lo", "br0", "a", "b"}


def test_a_link_that_is_down_can_forget_that_it_was_ever_up(
    host: Rtnl, node: Netns, ip_json: AskTool
) -> None:
    host.request(new_veth("p0", peer="e0"))
    before = ip_json("link", "show", "p0", netns=node)[0]["qdisc"]
    host.request(set_link("p0", up=True))
    host.request(set_link("p0", up=False))
    assert ip_json("link", "show", "p0", netns=node)[0]["qdisc"] != before
    index = made(host, "p0").index

    host.request(*forget_qdisc(index), one_by_one=True)

    assert ip_json("link", "show", "p0", netns=node)[0]["qdisc"] == before == NOOP
    assert made(host, "p0").qdisc == NOOP
    host.request(set_link(index, up=True))
    assert ip_json("link", "show", "p0", netns=node)[0]["qdisc"] == "noqueue"


def test_what_is_no_port_has_no_vlans(host: Rtnl) -> None:
    host.request(new_veth("p0", peer="e0"))

    assert host.port_vlans(made(host, "p0").index) == ()
    assert host.port_vlans(9999) == ()
