# SPDX-License-Identifier: Apache-2.0
"""Texts and examples of the rules in ``across``."""

from typing import Final

from spanbridge.model.findings import Severity
from spanbridge.stretch.lint.registry import HYPERCONVERGED, Rule, nad
from spanbridge.stretch.lint.rules import across

_CONFIG: Final = """\
{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-mig",
 "vlan": 2, "preserveDefaultVlan": false, "mtu": 9000,
 "ipam": {"type": "whereabouts", "range": "10.88.0.0/24",
          "range_start": "10.88.0.%s", "range_end": "10.88.0.%s"}}
"""
_EAST: Final = _CONFIG % ("10", "99")
_WEST: Final = _CONFIG % ("110", "199")


def _cluster(name: str, config: str, *, hyper: str = HYPERCONVERGED) -> dict[str, str]:
    return {
        f"{name}/hyperconverged.yaml": hyper,
        f"{name}/nad.yaml": nad(config)["nad.yaml"],
    }


def _west(old: str, new: str) -> dict[str, str]:
    return _cluster("east", _EAST) | _cluster("west", _WEST.replace(old, new))


_GOOD: Final = _west("", "")
_RANGE: Final = '"range": "10.88.0.0/24"'
_WITH_GATEWAY: Final = _RANGE + ', "gateway": %s,\n          "exclude": [%s]'
_V6: Final = '{"type": "whereabouts", "range": %s"fd00:88::/120"}'
_PLAIN: Final = HYPERCONVERGED + "    %sdisableTLS: true\n"


def _gateways(east: str, west: str, *, exclude: str = '"10.88.0.1/32", "10.88.0.120/32"') -> dict[
    str, str
]:  # fmt: skip
    return _cluster("east", _EAST.replace(_RANGE, _WITH_GATEWAY % (east, exclude))) | _cluster(
        "west", _WEST.replace(_RANGE, _WITH_GATEWAY % (west, exclude))
    )


CLUSTERS_RULES: Final = (
    Rule(
        code="SB110",
        name="same-addresses",
        severity=Severity.ERROR,
        summary="Two clusters hand out the same addresses on one stretched network",
        consequence="Each cluster's address management knows its own pods only, and both begin at"
        " the lowest address: two virt-handlers get one address, connections break, and memory may"
        " be sent to the wrong node.",
        remedy="give each cluster a slice of the range; `spanbridge plan` splits it",
        check=across.same_addresses,
        wrong=_west(
            '"10.88.0.0/24",\n          "range_start": "10.88.0.110"',
            '▶"10.88.0.0/24",\n          "range_start": "10.88.0.90"',
        ),
        right=_GOOD,
        rows=(9,),
    ),
    Rule(
        code="SB111",
        name="other-subnet",
        severity=Severity.ERROR,
        summary="The clusters are in different subnets of the stretched network",
        consequence="There is no route by migration0: packets leave through the pod network, where"
        " the other cluster is not reachable, or where it was not meant to go.",
        remedy="use one subnet for all clusters, with a slice for each",
        check=across.other_subnet,
        wrong=_west(
            '"range": "10.88.0.0/24",\n          "range_start": "10.88.0.110",'
            ' "range_end": "10.88.0.199"',
            '"range": ▶"10.89.0.0/24"',
        ),
        right=_GOOD,
        rows=(25,),
    ),
    Rule(
        code="SB112",
        name="other-family",
        severity=Severity.ERROR,
        summary="A cluster has only addresses of a family that the others do not have",
        consequence="No two virt-handlers of the two clusters can talk to each other.",
        remedy="give all clusters the same families; where both are there, IPv4 is used",
        check=across.other_family,
        wrong=_cluster("east", _EAST)
        | _cluster("west", _WEST.partition(' "ipam": ')[0] + ' "ipam": ' + _V6 % "▶" + "}"),
        right=_GOOD,
        rows=(26,),
    ),
    Rule(
        code="SB113",
        name="other-vlan",
        severity=Severity.ERROR,
        summary="The clusters use different VLANs for the stretched network",
        consequence="They are different networks, unless a switch between them translates: no"
        " frame gets across.",
        remedy="use one VLAN, or ignore this rule where a switch translates",
        check=across.other_vlan,
        wrong=_west('"vlan": 2', '"vlan": ▶3'),
        right=_GOOD,
        rows=(13,),
    ),
    Rule(
        code="SB114",
        name="other-mtu",
        severity=Severity.ERROR,
        summary="The clusters use different MTUs on the stretched network",
        consequence="Frames that are too big for one side are lost without a word: small requests"
        " pass, and the migration hangs as soon as memory is copied.",
        remedy="use one MTU in all clusters, which every switch on the way lets through",
        check=across.other_mtu,
        wrong=_west('"mtu": 9000', '"mtu": ▶1500'),
        right=_GOOD,
        rows=(20,),
    ),
    Rule(
        code="SB115",
        name="other-name",
        severity=Severity.NOTE,
        summary="The stretched network has different names in the clusters",
        consequence="It works; scripts and people that compare the clusters have to know both"
        " names.",
        remedy="use one name",
        check=across.other_name,
        wrong=_cluster("east", _EAST)
        | {
            "west/hyperconverged.yaml": HYPERCONVERGED.replace("migration-net", "west-net"),
            "west/nad.yaml": nad(_WEST, name="▶west-net")["nad.yaml"],
        },
        right=_GOOD,
    ),
    Rule(
        code="SB116",
        name="other-gateway",
        severity=Severity.WARNING,
        summary="The clusters name different gateways in one subnet",
        consequence="One of them may not exist, or is somebody else's address.",
        remedy="name the router's address in all clusters, or none",
        check=across.other_gateway,
        wrong=_gateways('"10.88.0.1"', '▶"10.88.0.120"'),
        right=_gateways('"10.88.0.1"', '"10.88.0.1"'),
        rows=(11,),
    ),
    Rule(
        code="SB121",
        name="foreign-gateway",
        severity=Severity.ERROR,
        summary="A cluster hands out the address that another one names as the gateway",
        consequence="As soon as a pod gets it, the network has lost its router.",
        remedy="exclude it in every cluster",
        check=across.foreign_gateway,
        wrong=_cluster("east", _EAST.replace(_RANGE, _WITH_GATEWAY % ('"10.88.0.150"', "")))
        | _cluster("west", _WEST.replace(_RANGE, '"range": ▶"10.88.0.0/24"')),
        right=_cluster("east", _EAST.replace(_RANGE, _WITH_GATEWAY % ('"10.88.0.150"', "")))
        | _cluster("west", _WEST.replace(_RANGE, _RANGE + ', "exclude": ["10.88.0.150/32"]')),
        rows=(11,),
    ),
    Rule(
        code="SB119",
        name="mixed-address-management",
        severity=Severity.WARNING,
        summary="One cluster uses DHCP on the stretched network, another one ranges of its own",
        consequence="The DHCP server does not know the ranges: where its pool meets one, two pods"
        " get one address.",
        remedy="use one of the two in all clusters, or keep the ranges out of the DHCP pool and"
        " ignore this rule",
        check=across.mixed_ipam,
        wrong=_cluster("east", _EAST)
        | _cluster("west", _WEST.partition(' "ipam": ')[0] + ' "ipam": {"type": ▶"dhcp"}}'),
        right=_GOOD,
        rows=(9, 11),
    ),
    Rule(
        code="SB117",
        name="other-encryption",
        severity=Severity.ERROR,
        summary="Migrations are encrypted in one cluster and not in the other",
        consequence="One side speaks TLS and the other does not: every migration between them"
        " fails.",
        remedy="remove disableTLS",
        check=across.other_encryption,
        wrong=_cluster("east", _EAST) | _cluster("west", _WEST, hyper=_PLAIN % "▶"),
        right=_GOOD,
        rows=(22,),
        also=("SB079",),
    ),
    Rule(
        code="SB118",
        name="network-in-some",
        severity=Severity.WARNING,
        summary="One cluster names no migration network, and others do",
        consequence="Its migrations use the pod network, which the others do not reach.",
        remedy="name the network in every cluster",
        check=across.gate_in_some,
        wrong=_cluster("east", _EAST)
        | {
            "west/hyperconverged.yaml": """\
apiVersion: hco.kubevirt.io/v1beta1
kind: HyperConverged
metadata:
  name: ▶kubevirt-hyperconverged
  namespace: openshift-cnv
spec:
  liveMigrationConfig: {}
"""
        },
        right=_GOOD,
        rows=(6,),
    ),
)
