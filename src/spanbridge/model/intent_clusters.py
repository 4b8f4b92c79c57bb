# SPDX-License-Identifier: Apache-2.0
"""Reading the clusters of an intent and their node pools."""

import re
from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.base.names import IfName, ifname_fault
from spanbridge.model.intent import (
    NODES_MAX,
    Cluster,
    Flavor,
    HyperConvergedApi,
    NodePool,
    PluginKind,
)
from spanbridge.model.reader import Node
from spanbridge.model.strict import as_plain_text, choice, label, refuse_strangers, refuse_twins

DEFAULT_BRIDGE: Final = "br-mig"
DEFAULT_POOL: Final = "nodes"
OPENSHIFT_NAMESPACE: Final = "openshift-cnv"
KUBEVIRT_NAMESPACE: Final = "kubevirt"
HYPERCONVERGED_NAMESPACE: Final = "kubevirt-hyperconverged"
"""Source: HyperConverged Cluster Operator 1.18, README.md."""

CLUSTER_DEFAULT_KEYS: Final = ("flavor", "hyperconverged", "namespace", "plugin")
POOL_DEFAULT_KEYS: Final = ("bridge", "uplink", "nmstate")
DEFAULT_KEYS: Final = (*CLUSTER_DEFAULT_KEYS, *POOL_DEFAULT_KEYS)
CLUSTER_KEYS: Final = ("name", "context", *CLUSTER_DEFAULT_KEYS, "nodePools")
POOL_KEYS: Final = (
    "name", "nodes", "count", *POOL_DEFAULT_KEYS, "nodeSelector", "controlPlane", "schedulable",
)  # fmt: skip

_NODE_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_CONTEXT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,252}")
"""What needs no quotes in a shell; the names that oc and kubectl make are of this form."""

_EXAMPLES: Final = {"bridge": DEFAULT_BRIDGE, "uplink": "eth1"}


def parse_clusters(spec: Node) -> tuple[Cluster, ...]:
    """Read ``defaults`` and ``clusters``, or raise ``ConfigError``."""
    defaults = spec.node("defaults") or Node({}, spec.at("defaults"))
    refuse_strangers(defaults, DEFAULT_KEYS)
    _check_defaults(defaults)
    nodes = spec.nodes("clusters")
    if not nodes:
        raise spec.fault(
            "clusters",
            "it is missing or empty",
            "write clusters: [{name: east, nodePools: [{uplink: eth1, count: 3}]}]",
        )
    clusters = tuple(_parse_cluster(_filled(node, defaults, CLUSTER_KEYS), defaults)
                     for node in nodes)  # fmt: skip
    refuse_twins([(each.name, f"{each.pointer}/name") for each in clusters], "cluster")
    homes = [(f"{each.context}, namespace {each.namespace}", f"{each.pointer}/context")
             for each in clusters]  # fmt: skip
    refuse_twins(homes, "context")
    return clusters


def _check_defaults(defaults: Node) -> None:
    """Complain where a bad default stands, not in the first cluster that would take it."""
    choice(defaults, "flavor", Flavor, Flavor.OPENSHIFT)
    choice(defaults, "hyperconverged", HyperConvergedApi, HyperConvergedApi.NONE)
    choice(defaults, "plugin", PluginKind, PluginKind.REFERENCE)
    label(defaults, "namespace", OPENSHIFT_NAMESPACE)
    defaults.flag("nmstate")
    for key, example in _EXAMPLES.items():
        _ifname(defaults, key, example)


def _filled(node: Node, defaults: Node, known: tuple[str, ...]) -> Node:
    """Give ``node`` what ``spec.defaults`` says and it does not, after its own keys are judged."""
    refuse_strangers(node, known)
    given = {key: value for key, value in defaults.raw.items() if key in known}
    own = {key: value for key, value in node.raw.items() if value is not None}
    return Node({**given, **own}, node.pointer)


def _parse_cluster(node: Node, defaults: Node) -> Cluster:
    name = label(node, "name")
    flavor = choice(node, "flavor", Flavor, Flavor.OPENSHIFT)
    usual = HyperConvergedApi.V1BETA1 if flavor is Flavor.OPENSHIFT else HyperConvergedApi.NONE
    api = choice(node, "hyperconverged", HyperConvergedApi, usual)
    if flavor is Flavor.OPENSHIFT and api is HyperConvergedApi.NONE:
        raise node.fault(
            "hyperconverged",
            "OpenShift Virtualization is configured by nothing else",
            "write v1beta1, or v1 from HyperConverged 1.18 on",
        )
    pools = node.nodes("nodePools")
    if not pools:
        raise node.fault(
            "nodePools", "it is missing or empty", "write nodePools: [{uplink: eth1, count: 3}]"
        )
    cluster = Cluster(
        name=name,
        context=_parse_context(node, name),
        namespace=label(node, "namespace", _usual_namespace(flavor, api)),
        flavor=flavor,
        hyperconverged=api,
        plugin=choice(node, "plugin", PluginKind, PluginKind.REFERENCE),
        pools=tuple(
            _parse_pool(_filled(pool, defaults, POOL_KEYS), flavor, alone=len(pools) == 1)
            for pool in pools
        ),
        pointer=node.pointer,
    )
    refuse_twins([(each.name, f"{each.pointer}/name") for each in cluster.pools], "node pool")
    refuse_twins(
        [(each, pool.pointer + "/nodes") for pool in cluster.pools for each in pool.nodes], "node"
    )
    return cluster


def _usual_namespace(flavor: Flavor, api: HyperConvergedApi) -> str:
    if flavor is Flavor.OPENSHIFT:
        return OPENSHIFT_NAMESPACE
    return KUBEVIRT_NAMESPACE if api is HyperConvergedApi.NONE else HYPERCONVERGED_NAMESPACE


def _parse_context(node: Node, default: str) -> str:
    context = node.text("context", default)
    if _CONTEXT.fullmatch(context) is None:
        raise node.fault(
            "context",
            f"{context!r} holds characters that a shell would take for its own",
            "rename it with: kubectl config rename-context OLD NEW",
        )
    return context


def _parse_pool(node: Node, flavor: Flavor, *, alone: bool) -> NodePool:
    name = label(node, "name", DEFAULT_POOL if alone else "")
    nodes = node.each("nodes", _as_node_name)
    selector = _parse_selector(node)
    control_plane = node.flag("controlPlane") if node.has("controlPlane") else None
    return NodePool(
        name=name,
        nodes=nodes,
        count=_parse_count(node, nodes),
        bridge=_ifname(node, "bridge", DEFAULT_BRIDGE),
        uplink=_parse_uplink(node),
        nmstate=node.flag("nmstate", default=flavor is Flavor.OPENSHIFT),
        node_selector=selector,
        control_plane=control_plane,
        schedulable=node.flag("schedulable", default=not control_plane or alone),
        pointer=node.pointer,
    )


def _as_node_name(value: object, pointer: str) -> str:
    text = as_plain_text(value, pointer)
    if _NODE_NAME.fullmatch(text) is None:
        raise ConfigError(
            f"cannot use node {text!r}: it is no Kubernetes node name",
            pointer=pointer,
            hint="write it as `kubectl get nodes` shows it",
        )
    return text


def _parse_count(node: Node, nodes: tuple[str, ...]) -> int:
    if not nodes and not node.has("count"):
        raise node.fault("count", "neither nodes nor count is given", "write count: 3")
    count = node.integer("count", minimum=1, maximum=NODES_MAX, default=len(nodes))
    if nodes and count != len(nodes):
        raise node.fault(
            "count", f"{len(nodes)} nodes are named, not {count}", "leave count out, or nodes"
        )
    return count


def _ifname(node: Node, key: str, default: str = "") -> IfName:
    name = node.text(key, default)
    fault = ifname_fault(name) or ("" if _is_plain(name) else "a shell would need quotes for it")
    if fault:
        raise node.fault(key, f"{name!r}: {fault}", f"write for example {key}: {_EXAMPLES[key]}")
    return IfName(name)


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*", name) is not None


def _parse_uplink(node: Node) -> IfName:
    if not node.has("uplink"):
        raise node.fault(
            "uplink",
            "it is missing: without one the bridge leads nowhere",
            "write the device that has the VLAN, such as uplink: eth1",
        )
    uplink = _ifname(node, "uplink")
    if uplink == node.text("bridge", DEFAULT_BRIDGE):
        raise node.fault("uplink", "it is the bridge itself", "write the device below the bridge")
    return uplink


def _parse_selector(node: Node) -> tuple[tuple[str, str], ...]:
    selector = node.node("nodeSelector")
    if selector is None:
        return ()
    return tuple((key, selector.text(key)) for key in selector.raw)
