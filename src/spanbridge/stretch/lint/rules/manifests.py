# SPDX-License-Identifier: Apache-2.0
"""Rules about NetworkAttachmentDefinitions and which of them migrations use."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

from spanbridge.model.findings import Severity
from spanbridge.stretch.lint.cluster import Cluster, is_network_operator
from spanbridge.stretch.lint.networks import BRIDGE_TYPES, Network
from spanbridge.stretch.lint.registry import HYPERCONVERGED, Hit, Rule, nad
from spanbridge.stretch.lint.views import Item, as_list, as_object, as_text, dig

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
"""What Multus takes in the short form of its annotation."""

_RESOURCE: Final = "k8s.v1.cni.cncf.io/resourceName"
_BRIDGE_RESOURCE: Final = "bridge.network.kubevirt.io/"
_EXTERNAL_CA: Final = "kubevirt-external-ca"
_CA_KEY: Final = "ca-bundle"
_BLOCK: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----"
)
_DER_SEQUENCE: Final = b"\x30\x82"
"""How a certificate of more than 255 bytes begins. Source: X.690, sections 8.1 and 8.9."""


def not_found(cluster: Cluster) -> Iterator[Hit]:
    """Find choices of a network that no manifest defines."""
    names = {item.name for item in cluster.manifests}
    for operator in filter(is_network_operator, cluster.items):
        for each in as_list(operator.get("spec", "additionalNetworks")):
            names.add(as_text(dig(each, "name")))
    for choice in cluster.choices:
        if names and choice.network not in names:
            known = ", ".join(sorted(names))
            yield Hit(
                f"no NetworkAttachmentDefinition is called {choice.network}: there is {known}",
                choice.item.spot(*choice.keys),
            )


def elsewhere(cluster: Cluster) -> Iterator[Hit]:
    """Find migration networks in another namespace than KubeVirt's."""
    for choice in cluster.choices:
        named = [item for item in cluster.manifests if item.name == choice.network]
        places = {item.namespace for item in named}
        if named and choice.namespace and places.isdisjoint({choice.namespace, ""}):
            yield Hit(
                f"{choice.network} is in namespace {named[0].namespace}, and migrations look it up"
                f" in {choice.namespace}",
                named[0].spot("metadata", "namespace"),
                related=(choice.item.spot(*choice.keys),),
            )


def impossible_name(cluster: Cluster) -> Iterator[Hit]:
    """Find names that Multus cannot read from its annotation."""
    for item in cluster.manifests:
        if item.name and _NAME.fullmatch(item.name) is None:
            yield Hit(f"Multus does not take {item.name!r} for a name",
                      item.spot("metadata", "name"))  # fmt: skip


def empty_config(cluster: Cluster) -> Iterator[Hit]:
    """Find manifests without a configuration."""
    files = {network.name for network in cluster.networks if network.nad is None}
    for item in cluster.manifests:
        if not as_text(item.get("spec", "config")).strip() and item.name not in files:
            message = f"{item} holds no configuration: each node's own file of that name is used"
            yield Hit(message, item.spot("metadata", "name"))


def other_resource(network: Network) -> Iterator[Hit]:
    """Find manifests that ask for another bridge than they use."""
    if network.nad is None or network.bridge is None or network.bridge.conf is None:
        return
    annotations = as_object(network.nad.get("metadata", "annotations"))
    asked = as_text(annotations.get(_RESOURCE))
    bridge = asked.removeprefix(_BRIDGE_RESOURCE)
    if asked.startswith(_BRIDGE_RESOURCE) and bridge != network.bridge.conf.bridge:
        message = f"nodes with {bridge} are asked for, and {network.bridge.conf.bridge} is used"
        yield Hit(message, network.nad.spot("metadata", "annotations", _RESOURCE))


def _dhcp_networks(cluster: Cluster) -> Iterator[Network]:
    for network in cluster.networks:
        manifest = network.nad is not None and not is_network_operator(network.nad)
        if manifest and any(plugin.ipam.type == "dhcp" for plugin in network.plugins):
            yield network


def _asks_for_dhcp(operator: Item, cluster: Cluster) -> bool:
    for network in cluster.networks:
        if network.nad is operator and any(p.ipam.type == "dhcp" for p in network.plugins):
            return True
    macvlans = (dig(each, "simpleMacvlanConfig", "ipamConfig", "type")
                for each in as_list(operator.get("spec", "additionalNetworks"))
                if dig(each, "simpleMacvlanConfig") is not None)  # fmt: skip
    return any(as_text(kind).upper() in {"", "DHCP", "IPAMTYPEDHCP"} for kind in macvlans)


def no_dhcp_daemon(cluster: Cluster) -> Iterator[Hit]:
    """Find OpenShift clusters that do not start the DHCP daemon their networks need."""
    for operator in filter(is_network_operator, cluster.items):
        if _asks_for_dhcp(operator, cluster):
            continue
        for network in _dhcp_networks(cluster):
            plugin = next(each for each in network.plugins if each.ipam.type == "dhcp")
            yield Hit(
                f"{network.name} uses dhcp, and no additional network of the operator does",
                plugin.spot("ipam", "type"),
                related=(operator.spot("spec"),),
            )


def _ca_fault(text: str) -> str:
    """Say why a bundle of certificates would be passed over; empty where it would not."""
    blocks = _BLOCK.findall(text)
    if not blocks or text.count("-----BEGIN") != len(blocks):
        return "a certificate has no proper BEGIN and END"
    for block in blocks:
        try:
            data = base64.b64decode("".join(block.split()), validate=True)
        except (binascii.Error, ValueError):
            return "a certificate is not base64"
        if data[:2] == _DER_SEQUENCE and int.from_bytes(data[2:4], "big") + 4 != len(data):
            return "a certificate is cut off"
    return ""


def broken_ca(cluster: Cluster) -> Iterator[Hit]:
    """Find CA bundles that virt-operator will not import."""
    for item in cluster.of_kind("ConfigMap"):
        if item.name != _EXTERNAL_CA:
            continue
        data = as_object(item.get("data"))
        if _CA_KEY not in data and data:
            key = next(iter(data))
            yield Hit(f"the certificates are under {key!r}, and {_CA_KEY!r} is read",
                      item.spot("data", key, at_key=True))  # fmt: skip
        text = as_text(data.get(_CA_KEY))
        fault = _ca_fault(text) if text.strip() else ""
        if fault:
            yield Hit(fault, item.spot("data", _CA_KEY))


def other_bridge_type(network: Network) -> Iterator[Hit]:
    """Find migration networks whose list has no plugin that makes an interface."""
    if network.migration and network.plugins and network.bridge is None:
        makers = {"macvlan", "ipvlan", "sriov", "vlan", "host-device", *BRIDGE_TYPES}
        types = [plugin.type for plugin in network.plugins]
        if all(kind in {"tuning", "portmap", "bandwidth", "firewall", "sbr"} for kind in types):
            yield Hit(
                f"{types[0]} makes no interface", network.plugins[0].spot("type"),
                remedy=f"put one of {', '.join(sorted(makers))} in front of it",
            )  # fmt: skip


_CONFIG: Final = """\
{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-mig",
 "ipam": {"type": "whereabouts", "range": "10.88.0.0/24"}}
"""

_MANIFEST: Final = nad(_CONFIG)["nad.yaml"]
_DHCP: Final = nad("""\
{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-mig",
 "ipam": {"type": "dhcp"}}
""")["nad.yaml"]

_OPERATOR: Final = """\
apiVersion: operator.openshift.io/v1
kind: Network
metadata:
  name: cluster
spec:
  additionalNetworks:
  - name: shim
    namespace: default
    type: Raw
    rawCNIConfig: |
      {"cniVersion": "1.0.0", "name": "shim", "type": "bridge", "bridge": "br-shim",
       "ipam": {"type": "%s"%s}}
"""

_CA: Final = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: kubevirt-external-ca
  namespace: openshift-cnv
data:
  ca-bundle: %s
"""

_CERTIFICATE: Final = """|
    -----BEGIN CERTIFICATE-----
    MIIBljCCAT2gAwIBAgIUOA/kVRNWXJnGMUvOZjdOR0GYUMwwCgYIKoZIzj0EAwIw
    ITEfMB0GA1UEAwwWa3ViZXZpcnQuaW9AMTc5NTAwMDAwMDAeFw0yNjExMjQxODQ4
    MDFaFw0yNjEyMDExODQ4MDFaMCExHzAdBgNVBAMMFmt1YmV2aXJ0LmlvQDE3OTUw
    MDAwMDAwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQKfJogqDoPDEN5vUcAvZvn
    ekW8k7tyvnomZLuQf1eGVs8pVGGyR00Elzx6IqYuOwidza8euT7g7lQqX9pgpR4j
    o1MwUTAdBgNVHQ4EFgQUJMmTfu2X7ffnlD3a78Op2teCLSYwHwYDVR0jBBgwFoAU
    JMmTfu2X7ffnlD3a78Op2teCLSYwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQD
    AgNHADBEAiBmuY8qkyAaOteQQbQ1GJWK13mZL9pGbBxruGAoqnsihQIgSu1RFrA2
    BatttyVzjYHNzOL0+nug3eXfmt6aNo8JSck=
    -----END CERTIFICATE-----
"""

CLUSTER_RULES: Final = (
    Rule(
        code="SB070",
        name="network-not-found",
        severity=Severity.ERROR,
        summary="Migrations use a network that no manifest of the cluster defines",
        consequence="Multus finds nothing of that name: every virt-handler stays in"
        " ContainerCreating, and the cluster's virtual machines cannot be managed.",
        remedy="correct the name, or add the NetworkAttachmentDefinition",
        check=not_found,
        wrong={
            "hyperconverged.yaml": HYPERCONVERGED.replace("migration-net", "▶migration-lan"),
            "nad.yaml": _MANIFEST,
        },
        right={"hyperconverged.yaml": HYPERCONVERGED, "nad.yaml": _MANIFEST},
        rows=(6, 7),
    ),
    Rule(
        code="SB071",
        name="network-elsewhere",
        severity=Severity.ERROR,
        summary="The migration network is in another namespace than KubeVirt",
        consequence="Multus looks for it in the namespace of the virt-handler pods and finds"
        " nothing: they stay in ContainerCreating.",
        remedy="create the NetworkAttachmentDefinition in the namespace of KubeVirt",
        check=elsewhere,
        wrong={
            "hyperconverged.yaml": HYPERCONVERGED,
            "nad.yaml": _MANIFEST.replace("openshift-cnv", "▶default"),
        },
        right={"hyperconverged.yaml": HYPERCONVERGED, "nad.yaml": _MANIFEST},
        rows=(7,),
    ),
    Rule(
        code="SB072",
        name="impossible-name",
        severity=Severity.ERROR,
        summary="The manifest's name has characters that Multus does not take",
        consequence="KubeVirt asks for the network in the short form, where a dot or a capital"
        " letter is an error: pods stay in ContainerCreating.",
        remedy="use lower-case letters, digits and dashes",
        check=impossible_name,
        wrong={"nad.yaml": _MANIFEST.replace("migration-net", "▶migration.net")},
        right={"nad.yaml": _MANIFEST},
        rows=(7,),
    ),
    Rule(
        code="SB073",
        name="empty-config",
        severity=Severity.WARNING,
        summary="The manifest holds no configuration",
        consequence="Each node's own file with that network name is used, and a node without such"
        " a file fails; nothing here can be checked.",
        remedy="write the configuration into spec.config, or lint the nodes' files",
        check=empty_config,
        wrong={
            "nad.yaml": _MANIFEST.partition("spec:")[0].replace("migration-net", "▶migration-net")
        },
        right={"nad.yaml": _MANIFEST},
        rows=(7,),
    ),
    Rule(
        code="SB082",
        name="broken-ca-bundle",
        severity=Severity.ERROR,
        summary="kubevirt-external-ca holds something that is no certificate",
        consequence="virt-operator passes over everything in it without a word, good certificates"
        ' too: migrations fail with "unknown authority".',
        remedy="copy key ca-bundle of ConfigMap kubevirt-ca of the other cluster, whole",
        check=broken_ca,
        wrong={"ca.yaml": _CA % ("▶" + _CERTIFICATE.replace("MIIB", "MII#"))},
        right={"ca.yaml": _CA % _CERTIFICATE},
        rows=(23,),
    ),
    Rule(
        code="SB083",
        name="no-dhcp-daemon",
        severity=Severity.WARNING,
        summary="A network uses dhcp and the operator starts no DHCP daemon",
        consequence="OpenShift runs the daemon only where an additional network of the operator"
        " uses dhcp: without it every ADD fails. With the agent of Spanbridge on the nodes the"
        " daemon is not needed.",
        remedy="add an entry with dhcp to spec.additionalNetworks, or install the agent and ignore"
        " this rule",
        check=no_dhcp_daemon,
        wrong={
            "network.yaml": _OPERATOR % ("host-local", ', "subnet": "10.7.0.0/24"'),
            "nad.yaml": _DHCP.replace('"dhcp"', '▶"dhcp"'),
        },
        right={"network.yaml": _OPERATOR % ("dhcp", ""), "nad.yaml": _DHCP},
        rows=(12,),
    ),
)

_ANNOTATED: Final = _MANIFEST.replace(
    "  namespace", f"  annotations:\n    {_RESOURCE}: %s{_BRIDGE_RESOURCE}%s\n  namespace"
)

NETWORK_RULES: Final = (
    Rule(
        code="SB074",
        name="no-interface",
        severity=Severity.ERROR,
        summary="No plugin of the migration network makes an interface",
        consequence="The first plugin fails: virt-handler pods stay in ContainerCreating.",
        remedy="put the bridge plugin in front",
        check=other_bridge_type,
        wrong={
            "hyperconverged.yaml": HYPERCONVERGED,
            **nad('{"cniVersion": "1.0.0", "plugins": [{"type": ▶"tuning"}]}'),
        },
        right={"hyperconverged.yaml": HYPERCONVERGED, "nad.yaml": _MANIFEST},
        rows=(7,),
    ),
    Rule(
        code="SB081",
        name="other-resource",
        severity=Severity.ERROR,
        summary="The resource annotation names another bridge than the configuration",
        consequence="Pods are put where the other bridge is, or stay Pending where none has it.",
        remedy="name the same bridge in both",
        check=other_resource,
        wrong={"nad.yaml": _ANNOTATED % ("▶", "br-other")},
        right={"nad.yaml": _ANNOTATED % ("", "br-mig")},
        rows=(7, 24),
    ),
)
