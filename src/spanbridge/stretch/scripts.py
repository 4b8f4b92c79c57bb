# SPDX-License-Identifier: Apache-2.0
"""
The scripts of a plan: what to run, in a shell that every administrator has.

Each is a head of assignments, which alone depends on the plan, and fixed fragments.
Names were checked when the intent was read, so none of them needs quoting.
"""

import json
from typing import Final

from spanbridge.kube.objects import (
    GATE,
    HCO_GATE,
    HCO_GROUP,
    HCO_NAME,
    KUBEVIRT_NAME,
    gate_patch,
    gate_value,
    gates_path,
)
from spanbridge.model.intent import (
    Cluster,
    Flavor,
    HyperConvergedApi,
    Intent,
    IpamType,
    NodePool,
    PluginKind,
)
from spanbridge.model.spans import Span, union
from spanbridge.stretch.plan import ClusterPlan, Plan, uplink_key

CONF_DIR: Final = "/etc/cni/multus/net.d"
"""Where Multus looks for what a NetworkAttachmentDefinition only names.

Source: Multus 4.2, pkg/types/conf.go."""

_WARNING: Final = "Written by `spanbridge plan`: change the intent, not this file."

_HEAD: Final = r"""set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
"""

_KUBE: Final = r"""
kube() { "${KUBECTL:-kubectl}" --context "$context" "$@"; }
"""

_STEPS: Final = r"""
step() { printf '== %s\n' "$*"; }

fail() {
  printf 'apply: %s\n' "$*" >&2
  exit 1
}

step "looking for namespace $namespace in $context"
kube get namespace "$namespace" -o name || fail "is KubeVirt installed there?"
"""

_APPLY_BRIDGES: Final = r"""
step "bridges and uplinks, by NMState"
kube apply -f bridges.yaml
kube wait -f bridges.yaml --for=condition=Available --timeout="${TIMEOUT:-600s}"
"""

_APPLY_DHCP_DAEMON: Final = r"""
step "the DHCP daemon of CNI, which OpenShift starts only when a network of its own asks"
asked=$(kube get networks.operator.openshift.io cluster \
  -o jsonpath='{.spec.additionalNetworks[*].rawCNIConfig}')
case $asked in
*'"dhcp"'*) echo "asked for already" ;;
*)
  listed=$(kube get networks.operator.openshift.io cluster \
    -o jsonpath='{.spec.additionalNetworks[*].name}')
  if [ -z "$listed" ]; then
    kube patch networks.operator.openshift.io cluster --type merge \
      -p "{\"spec\": {\"additionalNetworks\": [$dhcp_shim]}}"
  else
    kube patch networks.operator.openshift.io cluster --type json \
      -p "[{\"op\": \"add\", \"path\": \"/spec/additionalNetworks/-\", \"value\": $dhcp_shim}]"
  fi
  ;;
esac
"""

_DHCP_SHIM: Final = {
    "name": "dhcp-shim",
    "namespace": "default",
    "type": "Raw",
    "rawCNIConfig": '{"cniVersion": "0.3.1", "name": "dhcp-shim", "type": "bridge", '
    '"ipam": {"type": "dhcp"}}',
}

_APPLY_NETWORK: Final = r"""
step "the network"
kube apply -f network.yaml
"""

_APPLY_GATE: Final = r"""
step "feature gate $gate"
found=$(kube -n "$namespace" get "$resource" "$object" -o jsonpath="$gates_query")
number=$(printf '%s\n' "$found" | grep -nx "$gate\(=.*\)\?" | cut -d: -f1 || true)
if [ -n "$number" ]; then
  kube -n "$namespace" patch "$resource" "$object" --type json \
    -p "[{\"op\": \"replace\", \"path\": \"$gates_path/$((number - 1))\", \"value\": $gate_value}]"
elif [ -n "$found" ]; then
  kube -n "$namespace" patch "$resource" "$object" --type json -p "$gate_patch"
else
  kube -n "$namespace" patch "$resource" "$object" --type merge -p "$gate_first"
fi
"""

_APPLY_SETTING: Final = r"""
step "telling KubeVirt to use it; every virt-handler is started again"
kube -n "$namespace" patch "$resource" "$object" --type merge --patch-file "$patch"

step "waiting for KubeVirt to take it over"
query='{.spec.template.metadata.annotations.k8s\.v1\.cni\.cncf\.io/networks}'
until [[ $(kube -n "$namespace" get daemonset virt-handler -o jsonpath="$query") = \
  *"$network@migration0"* ]]; do
  [ "$SECONDS" -lt "${PATIENCE:-600}" ] || fail "virt-handler does not get it; look at $object"
  sleep "${PAUSE:-5}"
done
kube -n "$namespace" rollout status daemonset/virt-handler --timeout="${TIMEOUT:-600s}"
kube -n "$namespace" rollout status deployment/virt-synchronization-controller \
  --timeout="${TIMEOUT:-600s}"
echo
echo "Next: ./check.sh"
"""

_CHECK: Final = r"""
verdict=0

good() { printf '✓ %s\n' "$*"; }

bad() {
  printf '✗ %s\n' "$*"
  verdict=1
}
"""

_CHECK_BRIDGES: Final = r"""
while read -r name state; do
  [ -n "$name" ] || continue
  if [ "$state" = True ]; then
    good "policy $name is available"
  else
    bad "policy $name is not available: kubectl --context $context describe nncp $name"
  fi
done < <(kube get -f bridges.yaml -o jsonpath="$states_query" || true)
"""

_STATE: Final = '.status.conditions[?(@.type=="Available")].status'
_STATE_OF_ONE: Final = '{.metadata.name}{" "}{' + _STATE + '}{"\\n"}'
_STATE_OF_MANY: Final = '{range .items[*]}{.metadata.name}{" "}{' + _STATE + '}{"\\n"}{end}'

_CHECK_NETWORK: Final = r"""
if kube diff -f network.yaml >/dev/null 2>&1; then
  good "network $network is as planned"
else
  bad "network $network is missing or not as planned: ./apply.sh"
fi

query='{.spec.template.metadata.annotations.k8s\.v1\.cni\.cncf\.io/networks}'
for each in daemonset/virt-handler deployment/virt-synchronization-controller; do
  if [[ $(kube -n "$namespace" get "$each" -o jsonpath="$query" 2>/dev/null) = \
    *"$network@migration0"* ]]; then
    good "$each has the network"
  else
    bad "$each is missing or lacks the network; is the feature gate on? ./apply.sh"
  fi
done
"""

_CHECK_PODS: Final = r"""
if kube -n "$namespace" get pods -o json |
  python3 -c "$inside$judge" "$namespace/$network" "$ranges"; then :; else verdict=1; fi

addresses=$(kube -n "$namespace" get kubevirts.kubevirt.io \
  -o jsonpath='{.items[0].status.synchronizationAddresses[*]}')
if python3 -c "$inside$judge_sync" "$ranges" "$addresses"; then
  good "synchronization addresses: $addresses"
else
  bad "synchronization addresses are not of the network: ${addresses:-none}"
fi
exit "$verdict"
"""

_INSIDE: Final = """
import ipaddress, json, sys

def inside(text, ranges):
    ip = ipaddress.ip_address(text)
    for each in ranges.split():
        first, _, last = each.partition("-")
        first, last = ipaddress.ip_address(first), ipaddress.ip_address(last or first)
        if first.version == ip.version and first <= ip <= last:
            return True
    return False
"""

_JUDGE: Final = """
network, ranges = sys.argv[1:]
KINDS = ("virt-handler", "virt-synchronization-controller")
seen, worst = {kind: 0 for kind in KINDS}, 0
for pod in json.load(sys.stdin)["items"]:
    meta = pod["metadata"]
    kind = meta.get("labels", {}).get("kubevirt.io", "")
    if kind not in KINDS or meta.get("deletionTimestamp"):
        continue
    seen[kind] += 1
    where = meta["name"] + " on " + pod["spec"].get("nodeName", "no node yet")
    status = meta.get("annotations", {}).get("k8s.v1.cni.cncf.io/network-status", "[]")
    entries = [one for one in json.loads(status) if one.get("interface") == "migration0"]
    ips = [ip for one in entries for ip in one.get("ips", ())]
    strangers = [ip for ip in ips if not inside(ip, ranges)]
    if not ips:
        print("✗ " + where + ": no address on migration0, so it would use the pod network")
    elif strangers:
        print("✗ " + where + ": " + " ".join(strangers) + " is not in " + ranges)
    else:
        print("✓ " + where + ": " + " ".join(ips))
        continue
    worst = 1
for kind in KINDS:
    if not seen[kind]:
        print("✗ no pod of " + kind)
        worst = 1
sys.exit(worst)
"""

_JUDGE_SYNC: Final = """
ranges, addresses = sys.argv[1:]
hosts = [one.rpartition(":")[0].strip("[]") if one.count(":") == 1 or "]" in one else one
         for one in addresses.split()]
sys.exit(0 if hosts and all(inside(host, ranges) for host in hosts) else 1)
"""


def _script(what: str, assignments: dict[str, str], *fragments: str) -> str:
    lines = "".join(f"{key}={_quoted(value)}\n" for key, value in assignments.items())
    return f"#!/usr/bin/env bash\n# {what}\n# {_WARNING}\n{_HEAD}{lines}" + "".join(fragments)


def _quoted(value: str) -> str:
    plain = all(char.isalnum() or char in "._/@:+-" for char in value)
    return value if plain and value.isascii() else "'" + value.replace("'", r"'\''") + "'"


def setting(cluster: Cluster) -> tuple[str, str, str]:
    """Name resource, object and patch file that tell KubeVirt of the network."""
    if cluster.hyperconverged is HyperConvergedApi.NONE:
        return "kubevirts.kubevirt.io", KUBEVIRT_NAME, "kubevirt.yaml"
    # With its version: from HyperConverged 1.18 on, the bare name means another shape.
    resource = f"hyperconvergeds.{cluster.hyperconverged}.{HCO_GROUP}"
    return resource, HCO_NAME, "hyperconverged.yaml"


def _head_of(intent: Intent, cluster: Cluster) -> dict[str, str]:
    return {"context": cluster.context, "namespace": cluster.namespace, "network": intent.name}


def _gate_assignments(cluster: Cluster) -> dict[str, str]:
    api = cluster.hyperconverged
    path = gates_path(api)
    dotted = path.replace("/", ".")
    each = "{.name}={.state}" if api is HyperConvergedApi.V1 else "{@}"
    value = gate_value(api)
    first: object = [value]
    for key in reversed(path.strip("/").split("/")):
        first = {key: first}
    return {
        "gate": HCO_GATE if api is HyperConvergedApi.V1 else GATE,
        "gates_path": path,
        "gates_query": "{range " + dotted + "[*]}" + each + '{"\\n"}{end}',
        "gate_value": json.dumps(value),
        "gate_patch": gate_patch(api),
        "gate_first": json.dumps(first),
    }


def apply_script(plan: Plan, cluster: Cluster) -> str:
    """Write the script that brings the network to a cluster."""
    intent = plan.intent
    resource, name, patch = setting(cluster)
    head = {**_head_of(intent, cluster), "resource": resource, "object": name, "patch": patch}
    fragments = [_KUBE, _STEPS]
    if any(pool.nmstate for pool in cluster.pools):
        fragments.append(_APPLY_BRIDGES)
    if needs_dhcp_daemon(intent, cluster):
        head["dhcp_shim"] = json.dumps(_DHCP_SHIM)
        fragments.append(_APPLY_DHCP_DAEMON)
    fragments.append(_APPLY_NETWORK)
    if cluster.hyperconverged is not HyperConvergedApi.V1BETA1:
        head |= _gate_assignments(cluster)
        fragments.append(_APPLY_GATE)
    what = f"Brings the network {intent.name} to cluster {cluster.name}; safe to run again."
    return _script(what, head, *fragments, _APPLY_SETTING)


def needs_dhcp_daemon(intent: Intent, cluster: Cluster) -> bool:
    """
    Tell whether the cluster's own DHCP daemon has to be asked for.

    Source: OpenShift 4.20, cluster-network-operator, pkg/network/multus_ipam.go.
    """
    return (
        intent.ipam.type is IpamType.DHCP
        and cluster.flavor is Flavor.OPENSHIFT
        and cluster.plugin is PluginKind.REFERENCE
    )


def check_script(plan: Plan, one: ClusterPlan, policies: int) -> str:
    """Write the script that checks a cluster without changing it."""
    spans = union(plan.dhcp.pools if plan.dhcp else one.all_spans)
    head = _head_of(plan.intent, one.cluster) | {
        "ranges": " ".join(_dashed(span) for span in spans)
    }
    fragments = [_KUBE, _CHECK]
    if policies:
        head["states_query"] = _STATE_OF_MANY if policies > 1 else _STATE_OF_ONE
        fragments.append(_CHECK_BRIDGES)
    head |= {"inside": _INSIDE, "judge": _JUDGE, "judge_sync": _JUDGE_SYNC}
    what = f"Checks the network {plan.intent.name} in cluster {one.cluster.name}; changes nothing."
    return _script(what, head, *fragments, _CHECK_NETWORK, _CHECK_PODS)


def _dashed(span: Span) -> str:
    return f"{span.first}-{span.last}"


def uplink_command(intent: Intent, pool: NodePool) -> str:
    """Write the command that prepares a node where NMState does not."""
    vlan = f" --vlan {intent.vlan}" if intent.vlan else ""
    return f"spanbridge uplink ensure {pool.uplink} --bridge {pool.bridge}{vlan} --mtu {intent.mtu}"


def uplink_script(intent: Intent, cluster: Cluster, pool: NodePool) -> str:
    """Write the script to run on every node of a pool."""
    what = f"Prepares a node of pool {pool.name} of {cluster.name}; run it there, as root."
    named = f"# Nodes: {' '.join(pool.nodes)}\n" if pool.nodes else ""
    command = uplink_command(intent, pool)
    return f"#!/bin/sh\n# {what}\n# {_WARNING}\n{named}set -eu\nexec {command}\n"


def needs_uplink_script(cluster: Cluster, pool: NodePool) -> bool:
    """Tell whether neither NMState nor the plugin prepares the nodes of a pool."""
    return not pool.nmstate and not uplink_key(cluster, pool)


_INSTALL: Final = r"""
read -r -a ssh <<<"${SSH:-ssh}"
target=${CNI_CONF_DIR:-$directory}/$network.conf
for file in nodes/*.conf; do
  node=${file#nodes/}
  node=${node%.conf}
  "${ssh[@]}" "$node" "sudo install -D -m 0644 /dev/stdin '$target'" <"$file"
  printf '✓ %s: %s\n' "$node" "$target"
done
"""


def install_script(intent: Intent, cluster: Cluster) -> str:
    """Write the script that puts each node's configuration on its disk."""
    what = f"Copies nodes/NODE.conf to every node of {cluster.name}; SSH='ssh -l core' chooses how."
    return _script(what, {"network": intent.name, "directory": CONF_DIR}, _INSTALL)
