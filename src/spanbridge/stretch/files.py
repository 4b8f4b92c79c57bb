# SPDX-License-Identifier: Apache-2.0
"""A plan as files: path and content, nothing written yet."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Final

from spanbridge.kube.directory import PlannedFile, digest_of
from spanbridge.kube.manifest import render_name, render_yaml
from spanbridge.kube.netconf import (
    Section,
    Wiring,
    bridge_conf,
    dhcp_ipam,
    host_local_ipam,
    render_conf,
    static_ipam,
    whereabouts_ipam,
)
from spanbridge.kube.objects import (
    BridgePolicy,
    hyperconverged,
    kubevirt,
    network_attachment,
    node_network_policy,
)
from spanbridge.model.intent import Cluster, HyperConvergedApi, Intent, IpamType, NodePool
from spanbridge.model.spans import Span
from spanbridge.stretch.dhcp_server import dnsmasq_conf
from spanbridge.stretch.lock import LOCK_FILE, render_lock
from spanbridge.stretch.plan import ClusterPlan, Plan, uplink_key
from spanbridge.stretch.policies import bridge_policies
from spanbridge.stretch.readme import cluster_page, overview_page
from spanbridge.stretch.scripts import (
    apply_script,
    check_script,
    install_script,
    needs_uplink_script,
    setting,
    uplink_script,
)
from spanbridge.stretch.trust import exchange_script

_WARNING: Final = "Written by `spanbridge plan`: change the intent, not this file."

_NAME_MARK: Final = "@name@"
_NODE_MARK: Final = "@node@"
"""No Kubernetes name holds an @, so a rendered policy can be filled in for each node."""


def render_files(plan: Plan) -> Mapping[str, PlannedFile]:
    """Make every file of a plan, by path in its directory; the lock comes last."""
    files = dict(_render_all(plan))
    digests = {path: digest_of(file.content) for path, file in files.items()}
    lock = dataclasses.replace(plan.lock, files=digests)
    return {**files, LOCK_FILE: PlannedFile(render_lock(lock))}


def _render_all(plan: Plan) -> Iterator[tuple[str, PlannedFile]]:
    yield "README.md", PlannedFile(overview_page(plan))
    yield "exchange-ca.sh", PlannedFile(exchange_script(plan.intent), executable=True)
    if plan.dhcp:
        yield "dnsmasq.conf", PlannedFile(dnsmasq_conf(plan.intent, plan.dhcp))
    for one in plan.clusters:
        for name, file in _render_cluster(plan, one):
            yield f"{one.cluster.name}/{name}", file


def _render_cluster(plan: Plan, one: ClusterPlan) -> Iterator[tuple[str, PlannedFile]]:
    intent, cluster = plan.intent, one.cluster
    yield "README.md", PlannedFile(cluster_page(plan, one))
    policies = bridge_policies(intent, cluster)
    if policies:
        yield "bridges.yaml", PlannedFile(_render_policies(policies))
    for pool in cluster.pools:
        if needs_uplink_script(cluster, pool):
            text = uplink_script(intent, cluster, pool)
            yield f"uplink-{pool.name}.sh", PlannedFile(text, executable=True)
    yield "network.yaml", PlannedFile(_render_network(intent, one))
    yield _render_setting(intent, cluster)
    yield "apply.sh", PlannedFile(apply_script(plan, cluster), executable=True)
    yield "check.sh", PlannedFile(check_script(plan, one, len(policies)), executable=True)
    if one.nodes:
        yield (
            "install-node-configs.sh",
            PlannedFile(install_script(intent, cluster), executable=True),
        )
    for node in one.nodes:
        conf = _conf(intent, cluster, node.pool, node.spans)
        yield f"nodes/{node.name}.conf", PlannedFile(render_conf(conf))


def _ipam(intent: Intent, spans: tuple[Span, ...]) -> Section:
    match intent.ipam.type:
        case IpamType.WHEREABOUTS:
            return whereabouts_ipam(intent.subnets, spans)
        case IpamType.HOST_LOCAL:
            return host_local_ipam(intent.subnets, spans, intent.gateways)
        case IpamType.STATIC:
            return static_ipam(intent.subnets, spans)
        case IpamType.DHCP:
            return dhcp_ipam()


def _conf(intent: Intent, cluster: Cluster, pool: NodePool, spans: tuple[Span, ...]) -> Section:
    wiring = Wiring(pool.bridge, uplink_key(cluster, pool), vlan=intent.vlan, mtu=intent.mtu)
    return bridge_conf(intent.name, wiring, _ipam(intent, spans))


def _render_network(intent: Intent, one: ClusterPlan) -> str:
    cluster = one.cluster
    comment = _WARNING
    config = ""
    if one.nodes:
        comment += "\nEmpty on purpose: each node has its own configuration of this name."
    else:
        config = render_conf(_conf(intent, cluster, cluster.pools[0], one.spans))
    return render_yaml([network_attachment(intent.name, cluster.namespace, config)], comment)


def _render_setting(intent: Intent, cluster: Cluster) -> tuple[str, PlannedFile]:
    api = cluster.hyperconverged
    patch = (
        kubevirt(cluster.namespace, intent.name)
        if api is HyperConvergedApi.NONE
        else hyperconverged(api, cluster.namespace, intent.name)
    )
    comment = f"{_WARNING}\nA merge patch: apply.sh lays it over the object that is there."
    return setting(cluster)[2], PlannedFile(render_yaml([patch], comment))


def _render_policies(policies: tuple[BridgePolicy, ...]) -> str:
    """Render each kind of policy once: a YAML writer takes milliseconds for each of 500 nodes."""
    rendered: dict[BridgePolicy | tuple[object, ...], str] = {}
    texts = []
    for policy in policies:
        values = list(policy.selector.values())
        kind = (tuple(policy.selector), len(values), policy.bridge, policy.uplink)
        if len(values) != 1 or not values[0]:
            texts.append(_render_policy(policy))
            continue
        if kind not in rendered:
            marked = dict.fromkeys(policy.selector, _NODE_MARK)
            rendered[kind] = _render_policy(
                dataclasses.replace(policy, name=_NAME_MARK, selector=marked)
            )
        text = rendered[kind].replace(f"'{_NAME_MARK}'", render_name(policy.name))
        texts.append(text.replace(f"'{_NODE_MARK}'", render_name(values[0])))
    return "".join(f"# {line}\n" for line in _WARNING.splitlines()) + "---\n".join(texts)


def _render_policy(policy: BridgePolicy) -> str:
    return render_yaml([node_network_policy(policy)], "")
