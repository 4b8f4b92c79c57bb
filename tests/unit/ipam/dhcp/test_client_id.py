# SPDX-License-Identifier: Apache-2.0
"""Option 61: what a server knows a pod by."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import CallError
from spanbridge.ipam.dhcp.conf import client_id, parse_dhcp_conf
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node

OWNER = Owner.of("bridge-net", "0123abcd", "migration0")
POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=kubevirt;K8S_POD_NAME=virt-handler-x7k2p"
MAC = "02:00:5e:10:00:01"
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)


def made(owner: Owner = OWNER, args: str = "", mac: str = MAC, **section: object) -> bytes:
    return client_id(parse_dhcp_conf(Node(section, "/ipam")), owner, args=args, mac=mac)


def test_by_default_it_is_the_text_that_the_reference_sends() -> None:
    assert made() == b"\0" + b"0123abcd/bridge-net/migration0"
    assert made(clientId="container") == made()


def test_a_long_text_is_cut_where_the_reference_cuts_it() -> None:
    owner = Owner.of("n" * 100, "c" * 200, "eth0")

    assert made(owner) == b"\0" + b"c" * 200 + b"/" + b"n" * 53
    assert len(made(owner)) == 255


def test_of_the_interface_it_is_its_address() -> None:
    assert made(clientId="mac") == bytes.fromhex("01" + "02005e100001")


def test_of_a_pod_it_is_a_duid_of_its_name_and_an_iaid_of_its_interface() -> None:
    found = made(args=POD, clientId="pod")
    name = hashlib.sha256(b"kubevirt\0virt-handler-x7k2p").digest()
    interface = hashlib.sha256(b"bridge-net\0migration0").digest()

    assert found[:5] == b"\xff" + interface[:4]
    assert found[5:7] == b"\0\4"
    assert len(found) == 23
    assert (found[13] >> 4, found[15] >> 6) == (8, 2)
    assert (found[7:13], found[16:]) == (name[:6], name[9:16])


def test_of_a_pod_it_never_changes_between_releases() -> None:
    assert made(args=POD, clientId="pod").hex() == (
        "ff" + "1844831f" + "0004" + "1684cad1511783e79c575f973de13b09"
    )


@given(container=NAMES, mac=st.sampled_from([MAC, "02:00:00:00:00:02"]))
def test_a_new_container_of_the_same_pod_has_the_same_one(container: str, mac: str) -> None:
    owner = Owner.of("bridge-net", container, "migration0")

    assert made(owner, POD, mac, clientId="pod") == made(args=POD, clientId="pod")


@given(st.lists(st.tuples(NAMES, NAMES, NAMES, NAMES), min_size=2, max_size=2, unique=True))
def test_other_pods_and_interfaces_have_others(names: list[tuple[str, str, str, str]]) -> None:
    one, other = (
        made(
            Owner.of(network, "c", ifname[:15]),
            f"K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={pod}",
            clientId="pod",
        )
        for namespace, pod, network, ifname in ((a, b, c, d[:15]) for a, b, c, d in names)
    )
    same = [(a, b, c, d[:15]) for a, b, c, d in names]

    assert (one == other) is (same[0] == same[1])


@pytest.mark.parametrize(
    ("args", "missing"),
    [
        ("", "K8S_POD_NAMESPACE and K8S_POD_NAME"),
        ("K8S_POD_NAMESPACE=a", "K8S_POD_NAME"),
        ("K8S_POD_NAME=a;K8S_POD_NAMESPACE=", "K8S_POD_NAMESPACE"),
    ],
)
def test_without_a_pods_name_there_is_none_of_a_pod(args: str, missing: str) -> None:
    with pytest.raises(CallError, match="of the pod") as caught:
        made(args=args, clientId="pod")
    assert caught.value.message.endswith(f"CNI_ARGS lacks {missing}")
    assert "container or mac" in caught.value.hint


@pytest.mark.parametrize("mode", ["container", "pod", "mac"])
def test_a_provided_one_is_sent_as_it_is(mode: str) -> None:
    provide = [{"option": "dhcp-client-identifier", "value": "MYID"}]

    assert made(clientId=mode, provide=provide) == b"MYID"


def test_one_from_cni_args_is_sent_as_it_is_where_it_is_there() -> None:
    provide = [{"option": 61, "fromArg": "K8S_POD_NAME"}]

    assert made(args=POD, provide=provide) == b"virt-handler-x7k2p"
    assert made(provide=provide) == made()
