# SPDX-License-Identifier: Apache-2.0
"""The intent: what is read, what is refused with which remedy, and the published schema."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from spanbridge.base.errors import ConfigError
from spanbridge.model.intent import Flavor, HyperConvergedApi, IpamType
from spanbridge.model.intent_clusters import CLUSTER_KEYS, DEFAULT_KEYS, POOL_KEYS
from spanbridge.model.intent_parser import (
    IPAM_KEYS,
    METADATA_KEYS,
    ROOT_KEYS,
    SPEC_KEYS,
    parse_intent,
)
from spanbridge.model.reader import Node

PROJECT = Path(__file__).parents[3]
SCHEMA = json.loads((PROJECT / "docs/reference/intent.schema.json").read_text())


def intent(**spec: object) -> dict[str, Any]:
    """A small intent, with keys of its spec replaced; None takes one away."""
    usual: dict[str, object] = {
        "vlan": 2,
        "subnets": ["10.88.0.0/24"],
        "clusters": [
            {"name": "east", "nodePools": [{"uplink": "eth1", "count": 3}]},
            {"name": "west", "nodePools": [{"uplink": "eth1", "count": 3}]},
        ],
    }
    kept = {key: value for key, value in (usual | spec).items() if value is not None}
    return {
        "apiVersion": "spanbridge.io/v1alpha1",
        "kind": "MigrationNetwork",
        "metadata": {"name": "migration-net"},
        "spec": kept,
    }


def cluster(**keys: object) -> dict[str, Any]:
    return {"name": "east", "nodePools": [{"uplink": "eth1", "count": 3}], **keys}


def pool(**keys: object) -> list[dict[str, Any]]:
    return [cluster(nodePools=[{"uplink": "eth1", "count": 3, **keys}])]


def test_little_is_enough() -> None:
    found = parse_intent(Node(intent()))
    east = found.clusters[0]

    assert (found.mtu, found.ipam.type) == (1500, IpamType.WHEREABOUTS)
    assert (east.context, east.namespace) == ("east", "openshift-cnv")
    assert (east.flavor, east.hyperconverged) == (Flavor.OPENSHIFT, HyperConvergedApi.V1BETA1)
    assert (east.pools[0].name, east.pools[0].bridge, east.pools[0].nmstate) == (
        "nodes",
        "br-mig",
        True,
    )


def test_defaults_are_for_clusters_and_pools_that_say_nothing() -> None:
    defaults = {"flavor": "kubevirt", "uplink": "eth9", "bridge": "br9"}
    clusters = [
        {"name": "a", "nodePools": [{"count": 1}]},
        {"name": "b", "flavor": "openshift", "nodePools": [{"count": 1, "uplink": "eth1"}]},
    ]
    a, b = parse_intent(Node(intent(defaults=defaults, clusters=clusters))).clusters

    assert (a.flavor, a.namespace, a.pools[0].uplink) == (Flavor.KUBEVIRT, "kubevirt", "eth9")
    assert (b.flavor, b.namespace, b.pools[0].uplink) == (Flavor.OPENSHIFT, "openshift-cnv", "eth1")
    assert (b.pools[0].bridge, a.pools[0].nmstate, b.pools[0].nmstate) == ("br9", False, True)


WRONG = {
    "another kind": (intent() | {"kind": "Pod"}, "/kind", "write kind: MigrationNetwork"),
    "a dotted name": (intent() | {"metadata": {"name": "a.b"}}, "/metadata/name", "no dot"),
    "an unknown key": (intent(vlam=2), "/spec/vlam", "did you mean 'vlan'?"),
    "a key in other case": (intent(VLAN=2), "/spec/VLAN", "did you mean 'vlan'?"),
    "no VLAN": (intent(vlan=None), "/spec/vlan", "0 for an untagged network"),
    "VLAN 4095": (intent(vlan=4095), "/spec/vlan", "from 0 to 4094"),
    "a quoted VLAN": (intent(vlan="2"), "/spec/vlan", "without quotes"),
    "a small MTU for IPv6": (intent(mtu=1000, subnets=["fd00::/64"]), "/spec/mtu", "1280"),
    "no subnet": (intent(subnets=[]), "/spec/subnets", "10.88.0.0/24"),
    "host bits": (intent(subnets=["10.88.0.1/24"]), "/spec/subnets/0", "write 10.88.0.0/24"),
    "a tiny subnet": (intent(subnets=["10.88.0.0/30"]), "/spec/subnets/0", "room"),
    "a link-local subnet": (intent(subnets=["169.254.0.0/16"]), "/spec/subnets/0", "private"),
    "two of a family": (intent(subnets=["10.1.0.0/24", "10.2.0.0/24"]), "/spec/subnets", "one"),
    "a router elsewhere": (intent(gateway="10.1.0.1"), "/spec/gateway", "10.88.0.0/24"),
    "a router at the edge": (intent(gateway=["10.88.0.255"]), "/spec/gateway/0", "host address"),
    "reserved elsewhere": (intent(reserved=["10.1.0.1"]), "/spec/reserved/0", "leave it out"),
    "unknown management": (intent(ipam={"type": "hostlocal"}), "/spec/ipam/type", "host-local"),
    "a server without dhcp": (intent(ipam={"server": "10.88.0.9"}), "/spec/ipam/server", "leave"),
    "DHCPv6": (intent(subnets=["fd00::/64"], ipam={"type": "dhcp"}), "/spec/ipam/type", "DHCPv4"),
    "no cluster": (intent(clusters=[]), "/spec/clusters", "nodePools"),
    "a cluster twice": (
        intent(clusters=[cluster(), cluster(context="x")]), "/spec/clusters/1/name", "once"),
    "a context twice": (
        intent(clusters=[cluster(), cluster(name="b", context="east")]),
        "/spec/clusters/1/context", "once"),
    "a context for the shell": (
        intent(clusters=[cluster(context="$(id)")]), "/spec/clusters/0/context", "rename-context"),
    "OpenShift without HyperConverged": (
        intent(clusters=[cluster(hyperconverged="none")]),
        "/spec/clusters/0/hyperconverged", "v1beta1"),
    "a bad default": (intent(defaults={"flavor": "okd"}), "/spec/defaults/flavor", "openshift"),
    "no uplink": (
        intent(clusters=[cluster(nodePools=[{"count": 1}])]),
        "/spec/clusters/0/nodePools/0/uplink", "uplink: eth1"),
    "no nodes": (
        intent(clusters=[cluster(nodePools=[{"uplink": "eth1"}])]),
        "/spec/clusters/0/nodePools/0/count", "count: 3"),
    "another count": (
        intent(clusters=pool(nodes=["a"])), "/spec/clusters/0/nodePools/0/count", "leave count"),
    "a long bridge": (
        intent(clusters=pool(bridge="b" * 16)), "/spec/clusters/0/nodePools/0/bridge", "br-mig"),
    "the bridge as uplink": (
        intent(clusters=pool(uplink="br-mig")), "/spec/clusters/0/nodePools/0/uplink", "below"),
    "a node twice": (
        intent(clusters=[cluster(nodePools=[{"uplink": "e", "nodes": ["a", "a"]}])]),
        "/spec/clusters/0/nodePools/0/nodes", "once"),
    "a pool without a name": (
        intent(clusters=[cluster(nodePools=[{"uplink": "e", "count": 1}] * 2)]),
        "/spec/clusters/0/nodePools/0/name", "write a name"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG))
def test_a_fault_has_a_pointer_and_a_remedy(case: str) -> None:
    document, pointer, remedy = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        parse_intent(Node(document))

    assert caught.value.pointer == pointer
    assert remedy in f"{caught.value.message}; {caught.value.hint}"


def properties(name: str) -> set[str]:
    return set(SCHEMA["$defs"][name]["properties"])


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_schema_and_parser_know_the_same_keys() -> None:
    top = SCHEMA["properties"]
    spec = top["spec"]["properties"]

    assert set(top) == set(ROOT_KEYS)
    assert set(top["metadata"]["properties"]) == set(METADATA_KEYS)
    assert set(spec) == set(SPEC_KEYS)
    assert set(spec["ipam"]["properties"]) == set(IPAM_KEYS)
    assert set(spec["defaults"]["properties"]) == set(DEFAULT_KEYS)
    assert properties("cluster") == set(CLUSTER_KEYS)
    assert properties("nodePool") == set(POOL_KEYS)


def test_the_reference_explains_every_key() -> None:
    text = (PROJECT / "docs/reference/intent.md").read_text()
    keys = {*SPEC_KEYS, *IPAM_KEYS, *CLUSTER_KEYS, *POOL_KEYS}

    assert {key for key in keys if f"`{key}`" not in text} == set()


def places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a document."""
    yield at
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*at, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, (*at, index))


FULL = intent(
    mtu=9000,
    subnets=["10.88.0.0/24", "fd00:88::/64"],
    gateway=["10.88.0.1"],
    reserved=["10.88.0.16/28"],
    ipam={"type": "whereabouts", "growthPercent": 10},
    defaults={"plugin": "spanbridge", "namespace": "virt"},
    clusters=[
        cluster(
            context="admin@east",
            flavor="kubevirt",
            hyperconverged="v1",
            nodePools=[
                {"name": "a", "nodes": ["n1"], "uplink": "eth1", "nodeSelector": {"a": "b"}},
                {"name": "b", "count": 2, "uplink": "eth1", "controlPlane": True},
            ],
        )
    ],
)
PLACES = list(places(FULL))
JUNK = [None, True, 0, -1, 4095, 99999, "", "x", "UPPER", "a b", [], ["x"], {}, {"x": 1}]


@pytest.mark.parametrize("place", PLACES[1:], ids=lambda place: "/".join(map(str, place)))
@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_what_the_parser_takes_the_schema_takes_too(
    place: tuple[str | int, ...], junk: object
) -> None:
    document: Any = copy.deepcopy(FULL)
    holder = document
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = junk
    try:
        parse_intent(Node(document))
    except ConfigError:
        return
    # null is "not given" to the parser, as everywhere in Kubernetes; a schema has no such notion.
    faults = list(Draft202012Validator(SCHEMA).iter_errors(document))
    assert junk is None or faults == []


@pytest.mark.parametrize("case", [case for case in WRONG if "twice" not in case])
def test_the_schema_sees_what_needs_no_arithmetic(case: str) -> None:
    beyond = {
        "a small MTU for IPv6", "host bits", "a tiny subnet", "a link-local subnet",
        "two of a family", "a router elsewhere", "a router at the edge", "reserved elsewhere",
        "a server without dhcp", "DHCPv6", "OpenShift without HyperConverged", "no uplink",
        "another count", "the bridge as uplink", "a pool without a name",
    }  # fmt: skip
    faults = list(Draft202012Validator(SCHEMA).iter_errors(WRONG[case][0]))

    assert bool(faults) is (case not in beyond)
