# SPDX-License-Identifier: Apache-2.0
"""Every fault that a lab can be given: the only table of them."""

from typing import Final

from spanbridge.lab.faults import filters, parts, pods, wires
from spanbridge.lab.faults.recipes import Fault, Scope

_NODES: Final = (
    Fault(
        "uplink-without-vlan",
        (13, 17),
        "the bridge does not let the VLAN through the uplink",
        Scope.NODE,
        "SBV01",
        wires.uplink_without_vlan,
    ),
    Fault(
        "filtering-off",
        (15,),
        "the bridge takes no notice of VLANs",
        Scope.NODE,
        "SBV02",
        wires.filtering_off,
    ),
    Fault(
        "no-uplink", (14,), "the uplink is no port of the bridge", Scope.NODE, "SBV03",
        wires.no_uplink,
    ),
    Fault("uplink-down", (14,), "the uplink is down", Scope.NODE, "SBV04", wires.uplink_down),
    Fault(
        "stolen-vlan",
        (19,),
        "a VLAN device on the uplink takes the frames away from the bridge",
        Scope.NODE,
        "SBV05",
        wires.stolen_vlan,
    ),
    Fault("bridge-down", (13,), "the bridge is down", Scope.NODE, "SBV06", wires.bridge_down),
    Fault(
        "agent-down", (12,), "the node's agent has crashed", Scope.NODE, "SBV70", pods.agent_down
    ),
)  # fmt: skip

_FABRIC: Final = (
    Fault(
        "switch-port-without-vlan",
        (13,),
        "the switch's port to the node does not carry the VLAN",
        Scope.NODE,
        "SBV10",
        wires.switch_port_without_vlan,
    ),
    Fault(
        "cluster-cut",
        (1,),
        "nothing passes between a cluster and all others",
        Scope.CLUSTER,
        "SBV11",
        filters.cluster_cut,
        pair_code="SBV12",
    ),
    Fault(
        "link-cut", (1,), "nothing passes between two clusters", Scope.LINK, "SBV12",
        filters.link_cut,
    ),
    Fault(
        "one-way-link",
        (1,),
        "nothing passes from the first cluster to the second",
        Scope.LINK,
        "SBV14",
        filters.one_way_link,
    ),
    Fault(
        "one-way-node", (1,), "nothing passes that the node sends", Scope.NODE, "SBV14",
        filters.one_way_node,
    ),
    Fault(
        "foreign-macs",
        (21,),
        "the hypervisor below the node passes the MAC of its own card only",
        Scope.NODE,
        "SBV14",
        filters.foreign_macs,
    ),
    Fault(
        "stateful-filter",
        (1,),
        "a firewall lets the node's pod answer, but not ask",
        Scope.NODE,
        "SBV14",
        filters.stateful_filter,
        needs="conntrack",
    ),
    Fault(
        "tcp-filtered", (1,), "no TCP passes between two clusters", Scope.LINK, "SBV51",
        filters.tcp_filtered,
    ),
    Fault(
        "link-mtu", (20,), "only small packets pass between two clusters", Scope.LINK, "SBV43",
        filters.link_mtu,
    ),
    Fault(
        "switch-port-mtu",
        (20,),
        "the switch's port to the node has a smaller MTU",
        Scope.NODE,
        "SBV42",
        wires.switch_port_mtu,
    ),
    Fault(
        "uplink-mtu", (20,), "the uplink has a smaller MTU", Scope.NODE, "SBV41", wires.uplink_mtu
    ),
    Fault(
        "loss", (20,), "part of what is sent to the node is lost", Scope.NODE, "SBV80",
        wires.loss, needs="netem",
    ),
    Fault(
        "latency", (20,), "what is sent to the node arrives late", Scope.NODE, "SBV81",
        wires.latency, needs="netem",
    ),
)  # fmt: skip

_PODS: Final = (
    Fault(
        "no-migration0", (6,), "the pod is not on the network", Scope.NODE, "SBV20",
        pods.no_migration0,
    ),
    Fault(
        "lease-expired",
        (5, 12),
        "the agent has ended, and with the lease the pod's address",
        Scope.NODE,
        "SBV21",
        pods.lease_expired,
    ),
    Fault(
        "family-mismatch",
        (26,),
        "the pod has an IPv6 address, the others IPv4",
        Scope.NODE,
        "SBV23",
        pods.family_mismatch,
    ),
    Fault(
        "duplicate-between-clusters",
        (9,),
        "the pod has the address of another cluster's pod",
        Scope.NODE,
        "SBV24",
        pods.duplicate_between_clusters,
    ),
    Fault(
        "duplicate-within-cluster",
        (10,),
        "the pod has the address of another pod of its cluster",
        Scope.NODE,
        "SBV25",
        pods.duplicate_within_cluster,
    ),
    Fault(
        "duplicate-of-the-gateway",
        (11,),
        "the pod has the gateway's address",
        Scope.NODE,
        "SBV26",
        pods.duplicate_of_the_gateway,
    ),
    Fault(
        "stranger",
        (11,),
        "a machine of nobody's has the pod's address",
        Scope.NODE,
        "SBV27",
        pods.stranger,
    ),
    Fault(
        "gateway-everywhere",
        (11,),
        "every node answers the whole network for the gateway",
        Scope.LAB,
        "SBV28",
        parts.gateway_everywhere,
    ),
    Fault(
        "wrong-route",
        (25,),
        "the pod sends to the other clusters by its pod network",
        Scope.NODE,
        "SBV30",
        pods.wrong_route,
    ),
    Fault("pod-mtu", (20,), "the pod has a smaller MTU", Scope.NODE, "SBV40", pods.pod_mtu),
)  # fmt: skip

_PARTS: Final = (
    Fault(
        "port-closed", (28,), "the virt-handler has ended", Scope.NODE, "SBV50",
        parts.port_closed, standins=True,
    ),
    Fault(
        "standby-probed",
        (27,),
        "KubeVirt names the address of the sync controller that does not lead",
        Scope.CLUSTER,
        "SBV52",
        parts.standby_probed,
        standins=True,
    ),
    Fault(
        "ca-not-exchanged",
        (22,),
        "the first cluster does not trust the second one's authority",
        Scope.LINK,
        "SBV60",
        parts.ca_not_exchanged,
        standins=True,
    ),
    Fault(
        "ca-expired",
        (22,),
        "the cluster's authority has ended, and all that it signed",
        Scope.CLUSTER,
        "SBV61",
        parts.ca_expired,
        standins=True,
    ),
    Fault(
        "stale-certificate",
        (22,),
        "the virt-handler shows a certificate of an earlier authority",
        Scope.NODE,
        "SBV63",
        parts.stale_certificate,
        standins=True,
    ),
)  # fmt: skip

FAULTS: Final = {fault.name: fault for fault in (*_NODES, *_FABRIC, *_PODS, *_PARTS)}
"""By name."""
