# SPDX-License-Identifier: Apache-2.0
"""
Every cause that a verdict can name: the only table of the SBV codes.

Words in braces are filled in by the check that finds the cause; ``{who}`` is the blamed
nodes. Explained in docs/reference/verify.md, which a test holds against this table.
"""

from dataclasses import dataclass
from typing import Final

from spanbridge.model.findings import Severity

ERROR: Final = Severity.ERROR
WARNING: Final = Severity.WARNING


@dataclass(frozen=True, slots=True)
class Cause:
    """
    One kind of cause.

    Attributes:
        code: Stable; codes are never used again for something else.
        title: In a few words.
        message: Sentence with fields in braces.
        consequence: What happens in practice.
        remedies: Commands or steps, with fields in braces.
        severity: Whether it makes the verdict a failure.
    """

    code: str
    title: str
    message: str
    consequence: str
    remedies: tuple[str, ...]
    severity: Severity = ERROR


_ENSURE: Final = "on {who}: spanbridge uplink ensure {uplink} --bridge {bridge} --vlan {vlan}"
_DOCTOR: Final = "on {who}: spanbridge doctor"
_NO_MIGRATION: Final = "no virtual machine moves to or from there"

_NODES: Final = (
    Cause(
        "SBV01",
        "uplink does not carry the VLAN",
        "uplink {uplink} of {who} does not carry VLAN {vlan}",
        "pods reach each other on the same node only; " + _NO_MIGRATION,
        (_ENSURE, "or, until the next reboot: bridge vlan add vid {vlan} dev {uplink}"),
    ),
    Cause(
        "SBV02",
        "VLAN filtering is off",
        "bridge {bridge} of {who} does not filter VLANs: frames leave it untagged, "
        "not in VLAN {vlan}",
        "the traffic of migrations ends up in the uplink's native VLAN, or nowhere",
        ("on {who}: ip link set dev {bridge} type bridge vlan_filtering 1", _ENSURE),
    ),
    Cause(
        "SBV03",
        "bridge without an uplink",
        "bridge {bridge} of {who} has no uplink",
        "pods reach each other on the same node only; " + _NO_MIGRATION,
        ("on {who}: spanbridge uplink ensure DEVICE --bridge {bridge} --vlan {vlan}",),
    ),
    Cause(
        "SBV04",
        "uplink is down",
        "uplink {uplink} of {who} is down or has no carrier",
        _NO_MIGRATION,
        ("on {who}: ip link set dev {uplink} up", "then look at cable and switch port"),
    ),
    Cause(
        "SBV05",
        "VLAN device steals the frames",
        "{thief} of {who} takes the frames of VLAN {vlan} that arrive at {uplink} away from "
        "bridge {bridge}",
        "what arrives for the pods never reaches the bridge; " + _NO_MIGRATION,
        ("on {who}: ip link del dev {thief}", "and take it out of the node's network manager"),
    ),
    Cause(
        "SBV06",
        "bridge is down or missing",
        "bridge {bridge} of {who} is down or missing",
        _NO_MIGRATION,
        ("on {who}: ip link set dev {bridge} up", _DOCTOR),
    ),
)

_LOOK: Final = "look at the switch ports of {place}: do they carry VLAN {vlan}, tagged?"

_REACH: Final = (
    Cause(
        "SBV10",
        "node is cut off",
        "{place} is cut off: it reaches nobody outside, and nobody outside reaches it",
        _NO_MIGRATION,
        (_DOCTOR, _LOOK),
    ),
    Cause(
        "SBV11",
        "cluster is cut off",
        "{place} is cut off: its nodes reach each other, but no other cluster",
        "virtual machines move within the cluster only",
        ("look at what joins {place} with the others: is VLAN {vlan} allowed there?",),
    ),
    Cause(
        "SBV12",
        "two clusters are cut off from each other",
        "{place} do not reach each other",
        "no virtual machine moves between the two",
        ("look at what joins {place}: is VLAN {vlan} allowed there?",),
    ),
    Cause(
        "SBV13",
        "one pair is cut off",
        "{place} do not reach each other, though each reaches others",
        "no virtual machine moves between the two",
        (
            (
                "look for a filter for the two addresses, and for a MAC address that a switch "
                "learned at the wrong port"
            ),
        ),
    ),
    Cause(
        "SBV14",
        "packets pass one way only",
        "nothing passes from {place}, though the opposite direction works",
        "a migration starts and never ends: both sides must be able to connect",
        (
            (
                "look for a filter for that direction: nft list ruleset, policies of the hosts, "
                "access lists of switches"
            ),
        ),
    ),
    Cause(
        "SBV15",
        "nobody reaches anybody",
        "no endpoint reaches any other",
        "no virtual machine moves",
        (
            "look at the fabric: is VLAN {vlan} allowed on its ports?",
            "on a node: spanbridge doctor",
        ),
    ),
)

_ADDRESSES: Final = (
    Cause(
        "SBV20",
        "pod is not on the network",
        "{pod} on {who} has no {interface}: KubeVirt uses the pod network there, silently",
        "migrations run over the pod network, without the VLAN, or not at all between clusters",
        (
            "restart the pod: kubectl -n {namespace} delete pod {pod_name}",
            "then read its events: kubectl -n {namespace} describe pod {pod_name}",
        ),
    ),
    Cause(
        "SBV21",
        "no address",
        "{interface} of {pod} on {who} has no global address{lease}",
        "virt-handler does not start with such a device; one that runs already keeps telling "
        "others the lost address",
        (
            "on {who}: spanbridge agent leases --renew",
            "on {who}: spanbridge agent status",
            "then restart the pod: kubectl -n {namespace} delete pod {pod_name}",
        ),
    ),
    Cause(
        "SBV22",
        "address out of the cluster's range",
        "{pod} on {who} has {address}, which is not of cluster {cluster}'s range",
        "another cluster may hand out the same address",
        ("spanbridge plan INTENT -o DIR, apply what it writes, and restart the pod",),
        WARNING,
    ),
    Cause(
        "SBV23",
        "no common address family",
        "{place} have no address family in common: {families}",
        "no virtual machine moves between them; KubeVirt advertises a pod's first address only",
        ("give both the same family first: spanbridge plan INTENT -o DIR, and apply",),
    ),
    Cause(
        "SBV24",
        "duplicate address between clusters",
        "{holders} both have {address}",
        "connections end at the wrong pod, or are reset, by chance",
        (
            "give each cluster its own range: spanbridge plan INTENT -o DIR, and apply",
            "then restart one of the pods: kubectl -n {namespace} delete pod {pod_name}",
        ),
    ),
    Cause(
        "SBV25",
        "duplicate address within a cluster",
        "{holders} both have {address}",
        "connections end at the wrong pod, or are reset, by chance",
        (
            "restart one of the pods: kubectl -n {namespace} delete pod {pod_name}",
            "and look into the address management: two nodes must not share a host-local range",
        ),
    ),
    Cause(
        "SBV26",
        "pod has the gateway's address",
        "{pod} on {who} has {address}, the gateway's address",
        "pods lose their router, by chance",
        (
            "reserve {address} in the intent: spanbridge plan INTENT -o DIR, and apply",
            "then restart the pod: kubectl -n {namespace} delete pod {pod_name}",
        ),
    ),
    Cause(
        "SBV27",
        "address is used by a stranger",
        "{address} of {pod} on {who} is also used by {mac}, which is no pod of these clusters",
        "connections end at the wrong machine, by chance",
        ("find {mac} in the switches' tables, and take the address from it or out of the range",),
    ),
    Cause(
        "SBV28",
        "gateway answers from several places",
        "{count} MAC addresses answer for the gateway {address}: {macs}",
        "pods send to the wrong node's gateway, by chance",
        (
            "take isGateway out of the network, or leave gatewayScope at node",
            "spanbridge lint the network's configuration",
        ),
    ),
)

_ROUTES: Final = (
    Cause(
        "SBV30",
        "traffic leaves by another device",
        "{who} sends to {targets} through {device}, not through {interface}",
        "migrations run over another network, unseen, or do not reach the other side",
        (
            "give both clusters the same subnet, or the network a route: ipam.routes",
            "on {who}, in the pod: ip route get {example}",
        ),
    ),
    Cause(
        "SBV31",
        "migration traffic outside the network",
        "{frames} frames between {interface} addresses passed {device} of {who}",
        "migration data travels where it must not",
        ("in the pods of {who}: ip route",),
    ),
    Cause(
        "SBV32",
        "traffic in the wrong VLAN",
        "{frames} frames passed {device} of {who} {tag}, not in VLAN {vlan}",
        "other machines of that VLAN see migration data; memory of guests is in it",
        ("on {who}: spanbridge doctor", "on {who}: bridge -compressvlans vlan show"),
    ),
)

_MTU: Final = (
    Cause(
        "SBV40",
        "MTU of a pod",
        "{interface} of {pod} on {who} has MTU {mtu}, not {expected}",
        "migrations start and hang at the first large packet, or crawl",
        (
            (
                'write "mtu": {expected} in the network\'s configuration, and restart the pod: '
                "kubectl -n {namespace} delete pod {pod_name}"
            ),
        ),
    ),
    Cause(
        "SBV41",
        "MTU of a node's device",
        "{device} of {who} has MTU {mtu}, not {expected}",
        "large packets are dropped there, silently: migrations start and hang",
        (
            "on {who}: ip link set dev {device} mtu {expected}",
            "and in the node's network manager, or it comes back",
        ),
    ),
    Cause(
        "SBV42",
        "MTU between a node and the fabric",
        "packets of more than {mtu} bytes do not pass between {place} and the fabric",
        "migrations start and hang at the first large packet",
        (_DOCTOR, "look at the switch port of {place}: its MTU must be at least {expected}"),
    ),
    Cause(
        "SBV43",
        "MTU between clusters",
        "packets of more than {mtu} bytes do not pass {place}",
        "migrations between clusters start and hang at the first large packet",
        (
            (
                'raise the MTU of what lies there to {expected}, or write "mtu": {mtu} in the '
                "intent and plan again"
            ),
        ),
    ),
    Cause(
        "SBV44",
        "MTU of the whole network",
        "no path carries more than {mtu} bytes; the intent says {expected}",
        "migrations start and hang at the first large packet",
        (
            (
                'raise the fabric\'s MTU to {expected}, or write "mtu": {mtu} in the intent and '
                "plan again"
            ),
        ),
    ),
)

_PORTS: Final = (
    Cause(
        "SBV50",
        "port is closed",
        "{pod} on {who} refuses port {port}",
        "migrations to it fail at once",
        ("kubectl -n {namespace} get pod {pod_name}", "kubectl -n {namespace} logs {pod_name}"),
    ),
    Cause(
        "SBV51",
        "port is filtered",
        "TCP to {ports} is filtered: {place}",
        "migrations hang until they time out",
        (
            "look for a filter for TCP: nft list ruleset on the nodes, policies, access lists",
            "KubeVirt needs 9185, and any port between virt-handlers: 49152 alone is not enough",
        ),
    ),
    Cause(
        "SBV52",
        "standby probed instead of the leader",
        "{pod} on {who} is the standby: only the leader listens on port {port}",
        "a migration that was told this address never begins",
        (
            (
                "kubectl -n {namespace} get lease virt-synchronization-controller "
                "-o jsonpath='{{.spec.holderIdentity}}'"
            ),
            "use the address of that pod",
        ),
    ),
)

_TRUST: Final = (
    Cause(
        "SBV60",
        "certificate authority not exchanged",
        "cluster {cluster} does not trust the certificate authority of cluster {other}",
        "both sides connect, and refuse each other: migrations fail",
        (
            (
                "kubectl{other_context} -n {other_namespace} get cm kubevirt-ca "
                "-o jsonpath='{{.data.ca-bundle}}' > ca.pem"
            ),
            (
                "kubectl{context} -n {namespace} create cm kubevirt-external-ca "
                "--from-file=ca-bundle=ca.pem --dry-run=client -o yaml | "
                "kubectl{context} apply -f -"
            ),
        ),
    ),
    Cause(
        "SBV61",
        "certificate has expired",
        "certificates of {place} have expired{when}",
        "both sides connect, and refuse each other: migrations fail",
        (
            "exchange the certificate authorities again, see SBV60",
            "compare the clocks: timedatectl on nodes of both clusters",
        ),
    ),
    Cause(
        "SBV62",
        "certificate is not valid yet",
        "certificates of {place} are not valid yet: a clock is wrong",
        "both sides connect, and refuse each other: migrations fail",
        ("compare the clocks: timedatectl on nodes of both clusters",),
    ),
    Cause(
        "SBV63",
        "pod with another certificate",
        "{pod} on {who} has a certificate of {issuer}, unlike the others of cluster {cluster}",
        "migrations to it fail",
        ("restart the pod: kubectl -n {namespace} delete pod {pod_name}",),
    ),
    Cause(
        "SBV64",
        "TLS handshake fails",
        "TLS handshakes fail {place}: {error}",
        "migrations fail",
        ("look whether something in between ends or alters TLS",),
    ),
)

_REST: Final = (
    Cause(
        "SBV70",
        "agent is down",
        "the agent of {who} does not answer",
        "leases are not renewed and end; new pods get no network; nothing is measured there",
        ("on {who}: systemctl restart spanbridge-agent", "on {who}: spanbridge agent status"),
    ),
    Cause(
        "SBV71",
        "could not be measured",
        "nothing could be measured from {who}: {error}",
        "what does not work there stays unknown",
        (_DOCTOR, "then run spanbridge verify again"),
    ),
    Cause(
        "SBV72",
        "cluster without a virt-handler",
        "cluster {cluster} has no virt-handler on the network",
        "no virtual machine moves to or from there",
        (
            "kubectl{context} -n {namespace} get pod -l kubevirt.io=virt-handler -o wide",
            (
                "kubectl{context} -n {namespace} get events --field-selector "
                "reason=FailedCreatePodSandBox"
            ),
        ),
    ),
    Cause(
        "SBV73",
        "nothing was tried",
        "no pair was tried: there are not two virt-handlers that could reach each other",
        "whether virtual machines may move stays unknown",
        ("kubectl get pod -A -l kubevirt.io=virt-handler -o wide, in each cluster",),
    ),
    Cause(
        "SBV74",
        "object stands against it",
        "{subject} of cluster {cluster}: {what}",
        "{then}",
        ("{remedy}",),
    ),
    Cause(
        "SBV75",
        "object is not as planned",
        "{subject} of cluster {cluster}: {what}",
        "{then}",
        ("{remedy}",),
        WARNING,
    ),
    Cause(
        "SBV80",
        "packets are lost",
        "{percent} of packets are lost {place}",
        "migrations slow down, and may never converge",
        ("read error counters: ip -s -s link on the nodes, and of the switch ports",),
    ),
    Cause(
        "SBV81",
        "round trips take long",
        "round trips take {median} {place}, elsewhere {usual}",
        "migrations of busy virtual machines may not converge",
        ("look for a congested or detouring path",),
        WARNING,
    ),
    Cause(
        "SBV82",
        "packets arrive twice",
        "echoes are answered twice {place}",
        "a loop in the network, or two machines with one address",
        ("look for a loop: spanning tree on the switches; two uplinks in one bridge",),
        WARNING,
    ),
)

CAUSES: Final = {
    cause.code: cause
    for group in (_NODES, _REACH, _ADDRESSES, _ROUTES, _MTU, _PORTS, _TRUST, _REST)
    for cause in group
}
"""By code."""
