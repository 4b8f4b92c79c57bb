# SPDX-License-Identifier: Apache-2.0
"""The pages of a plan: what was planned, and what to run in which order."""

from collections.abc import Iterable, Sequence
from typing import Final

from spanbridge.model.intent import Cluster, Flavor, Intent, IpamType, PluginKind
from spanbridge.model.spans import Span, union
from spanbridge.stretch.plan import ClusterPlan, Plan
from spanbridge.stretch.scripts import (
    CONF_DIR,
    needs_dhcp_daemon,
    needs_uplink_script,
    setting,
    uplink_command,
)

_WARNING: Final = "Written by `spanbridge plan`: change the intent, not this page."

_SPANS_SHOWN: Final = 8


def cluster_page(plan: Plan, one: ClusterPlan) -> str:
    """Write the page of one cluster, its steps in the order in which to run them."""
    intent, cluster = plan.intent, one.cluster
    steps = [
        *_uplink_steps(intent, cluster),
        *_node_steps(one),
        _apply_step(intent, cluster),
        _check_step(),
        _trust_step(intent, cluster),
    ]
    text = [
        f"# {cluster.name}: the migration network {intent.name}",
        _WARNING,
        _facts(plan, one),
        *[f"**Note.** {note}" for note in one.notes],
        (
            "Run the steps in this directory, with a kubeconfig that has the context "
            f"`{cluster.context}`. Each may be run again."
        ),
        *[f"## {number}. {step}" for number, step in enumerate(steps, 1)],
        _removal(intent, cluster),
    ]
    return "\n\n".join(text) + "\n"


def _facts(plan: Plan, one: ClusterPlan) -> str:
    intent, cluster = plan.intent, one.cluster
    rows = [
        ("Network", f"`{intent.name}` in namespace `{cluster.namespace}`"),
        ("VLAN, MTU", f"{intent.vlan or 'untagged'}, {intent.mtu}"),
        ("Subnet", ", ".join(str(each) for each in intent.subnets)),
        ("Addresses", _shown(union(one.all_spans)) or "from the DHCP server"),
        ("Needed today", (f"{one.need}: {cluster.node_count} nodes, 2 synchronization controllers, "
         "1 while they are replaced")),
        *[(f"Pool {pool.name}", (f"{pool.count} nodes, bridge `{pool.bridge}`, uplink "
           f"`{pool.uplink}`{', by NMState' if pool.nmstate else ''}")) for pool in cluster.pools],
    ]  # fmt: skip
    return _table(("", ""), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(spans: Sequence[Span]) -> str:
    shown = ", ".join(str(span) for span in spans[:_SPANS_SHOWN])
    return shown + (f" and {len(spans) - _SPANS_SHOWN} more" if len(spans) > _SPANS_SHOWN else "")


def _block(*lines: str) -> str:
    return "\n".join(["```sh", *lines, "```"])


def _uplink_steps(intent: Intent, cluster: Cluster) -> list[str]:
    pools = [pool for pool in cluster.pools if needs_uplink_script(cluster, pool)]
    if not pools:
        return []
    text = [
        "Bridge and uplink on every node\n",
        (
            "NMState does not manage these nodes, so each is prepared by a command that also keeps "
            "bridge and VLAN over a reboot:\n"
        ),
    ]
    for pool in pools:
        script = f"uplink-{pool.name}.sh"
        if pool.nodes:
            nodes = " ".join(pool.nodes)
            loop = f'for node in {nodes}; do ssh "$node" sudo sh -s <{script}; done'
            text.append(_block(loop))
        else:
            text.append(f"Pool {pool.name}, on each node as root (`{script}` holds it):\n")
            text.append(_block(uplink_command(intent, pool)))
    return ["\n".join(text)]


def _node_steps(one: ClusterPlan) -> list[str]:
    if not one.nodes:
        return []
    return [
        "Each node's configuration\n\n"
        f"`nodes/NODE.conf` goes to `{CONF_DIR}/` of that node; two nodes must never have the "
        "same file.\n\n" + _block("./install-node-configs.sh")
    ]


def _apply_step(intent: Intent, cluster: Cluster) -> str:
    _, name, patch = setting(cluster)
    parts = []
    if any(pool.nmstate for pool in cluster.pools):
        parts.append("makes bridges and uplinks by NMState (`bridges.yaml`)")
    if needs_dhcp_daemon(intent, cluster):
        parts.append("has OpenShift start the DHCP daemon of CNI")
    elif intent.ipam.type is IpamType.DHCP and cluster.plugin is PluginKind.REFERENCE:
        parts.append("takes for granted that the DHCP daemon of CNI runs on every node")
    parts.append("creates the network (`network.yaml`)")
    parts.append(f"turns the feature gate on and names the network in `{name}` (`{patch}`)")
    parts.append("waits until every virt-handler has been started again")
    return (
        "Apply\n\n"
        + _block("./apply.sh")
        + "\n\nIt "
        + ", ".join(parts[:-1])
        + f", and {parts[-1]}."
        " Migrations that run are finished first, which may take five minutes a node."
    )


def _check_step() -> str:
    return (
        "Check\n\n" + _block("./check.sh") + "\n\nOne line a check, exit code 1 when one failed. "
        "A virt-handler without an address on `migration0` would silently use the pod network."
    )


def _trust_step(intent: Intent, cluster: Cluster) -> str:
    others = [each.name for each in intent.clusters if each.name != cluster.name]
    if not others:
        return "Trust\n\nThere is no other cluster in the intent yet."
    life = (
        "On OpenShift these certificates live for a day or two, so run it again before each batch."
        if cluster.flavor is Flavor.OPENSHIFT
        else "They are renewed every few days, so run it again before each batch of migrations."
    )
    return (
        "Trust, once the other clusters are at this step too\n\n"
        + _block(f"../exchange-ca.sh {cluster.name}")
        + f"\n\nExchanges certificate authorities with {_few(others)}, both ways. {life}"
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SPANS_SHOWN]) + (" and others" if len(names) > _SPANS_SHOWN else "")


def _removal(intent: Intent, cluster: Cluster) -> str:
    return (
        "## To take the cluster out again\n\nTake the network away from KubeVirt, delete "
        f"`{intent.name}`, then remove the cluster from the intent and plan again. Its addresses "
        "stay reserved until you say that they are free: "
        f"`spanbridge plan --reclaim {cluster.name}`."
    )


def overview_page(plan: Plan) -> str:
    """Write the first page: who has which addresses, and what comes when."""
    intent = plan.intent
    rows = [
        (
            f"[{one.cluster.name}]({one.cluster.name}/README.md)",
            str(one.cluster.node_count),
            str(one.need),
            _shown(union(one.all_spans)) or "DHCP",
        )
        for one in plan.clusters
    ]
    subnets = " and ".join(str(each) for each in intent.subnets)
    vlan = f"VLAN {intent.vlan}" if intent.vlan else "Untagged"
    text = [
        f"# The migration network {intent.name}",
        _WARNING,
        f"{vlan}, MTU {intent.mtu}, {subnets}, addresses by {intent.ipam.type}.",
        *[f"**Note.** {note}" for note in plan.notes],
        _table(("Cluster", "Nodes", "Addresses needed", "Addresses it may use"), rows),
        *[f"{number}. {step}" for number, step in enumerate(_overview_steps(plan), 1)],
        _block("./exchange-ca.sh"),
        _KEEP_THE_LOCK,
    ]
    return "\n\n".join(text) + "\n"


_KEEP_THE_LOCK: Final = (
    "`spanbridge.lock.json` records who has which addresses: keep it with the intent under "
    "version control, or the next plan may move them."
)


def _overview_steps(plan: Plan) -> list[str]:
    steps = [
        (
            "Have the VLAN carried by every switch port that a node's uplink is plugged into, with "
            f"an MTU of at least {plan.intent.mtu}."
        )
    ]
    if plan.dhcp:
        steps.append("Start the DHCP server: `dnsmasq.conf` says how.")
    steps.append("Follow the README.md of each cluster, the clusters in any order.")
    steps.append(
        "Exchange the certificate authorities of all of them, and again before each batch of "
        "migrations:"
    )
    return steps
