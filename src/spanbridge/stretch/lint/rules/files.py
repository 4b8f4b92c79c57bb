# SPDX-License-Identifier: Apache-2.0
"""Rules about files as such: can they be read, and is everything in them once."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from spanbridge.kube.documents import NAD_KIND
from spanbridge.kube.source import Document
from spanbridge.model.findings import Severity
from spanbridge.stretch.lint.cluster import HYPERCONVERGED, INTENT_KIND, KUBEVIRT, Cluster
from spanbridge.stretch.lint.networks import is_network
from spanbridge.stretch.lint.policies import POLICY_KIND
from spanbridge.stretch.lint.registry import Hit, Rule, Spot, conf, nad

if TYPE_CHECKING:
    from spanbridge.stretch.lint.views import Item

_KNOWN_KINDS: Final = frozenset(
    {NAD_KIND, HYPERCONVERGED, KUBEVIRT, POLICY_KIND, INTENT_KIND, "Network", "Node", "ConfigMap"}
    | {"VirtualMachine", "VirtualMachineInstanceMigration"}
)


def undecodable(cluster: Cluster) -> Iterator[Hit]:
    """Find files, and texts inside of manifests, that cannot be decoded."""
    for fault in cluster.files.faults:
        yield Hit(f"this cannot be decoded: {fault.cause}", fault.position, remedy=fault.hint)
    for each in cluster.broken:
        spot = Spot(each.item.document, each.pointer)
        if each.fault is None:
            yield Hit(f"the configuration in {each.item} is no JSON object", spot)
        else:
            cause = f"the configuration in {each.item} is no JSON: {each.fault.cause}"
            yield Hit(cause, each.fault.position)


def _documents(cluster: Cluster) -> Iterator[Document]:
    yield from cluster.files.documents
    for network in cluster.networks:
        if network.nad is not None:
            yield network.document


def repeated_key(cluster: Cluster) -> Iterator[Hit]:
    """Find keys that an object has twice."""
    for document in _documents(cluster):
        for position in document.repeated():
            key = position.pointer.rpartition("/")[2]
            yield Hit(f"{key!r} is here already; only this last one counts", position)


def nothing_to_check(cluster: Cluster) -> Iterator[Hit]:
    """Find files that were asked about by name and hold nothing that rules know."""
    known = {item.document.file for item in cluster.items if item.kind in _KNOWN_KINDS}
    known |= {each.file for each in cluster.files.documents if is_network(each)}
    known |= {fault.position.file for fault in cluster.files.faults}
    first: dict[str, Document] = {}
    for document in cluster.files.documents:
        first.setdefault(document.file, document)
    for name in cluster.files.asked:
        if name not in known and name in first:
            kinds = sorted({each.kind for each in cluster.items if each.document.file == name})
            held = f": it holds {', '.join(kinds)}" if kinds else ""
            yield Hit(f"nothing in this file is checked{held}", Spot(first[name]))


def wrong_extension(cluster: Cluster) -> Iterator[Hit]:
    """Find lists in .conf files and single configurations in .conflist files."""
    for network in cluster.networks:
        if network.nad is None and network.document.file.endswith(".conf") and network.is_list:
            spot = Spot(network.document, "/plugins", at_key=True)
            yield Hit("a list of plugins stands in a .conf file", spot)
        if network.document.file.endswith(".conflist") and not network.is_list:
            yield Hit("this .conflist file holds no list of plugins", Spot(network.document))


def defined_twice(cluster: Cluster) -> Iterator[Hit]:
    """Find objects that two manifests of one cluster define."""
    seen: dict[tuple[str, str, str], Item] = {}
    for item in cluster.items:
        if item.kind not in _KNOWN_KINDS or not item.name:
            continue
        earlier = seen.setdefault((item.kind, item.namespace, item.name), item)
        if earlier is not item:
            yield Hit(
                f"{item} is defined twice in {cluster.label}",
                item.spot("metadata", "name"),
                related=(earlier.spot("metadata", "name"),),
            )


_PLAIN: Final = """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "type": "bridge",
  "bridge": "br-lan"
}
"""

_LIST: Final = """\
{
  "cniVersion": "1.0.0",
  "name": "lan",
  "plugins": [
    {"type": "bridge", "bridge": "br-lan"}
  ]
}
"""

CLUSTER_RULES: Final = (
    Rule(
        code="SB001",
        name="undecodable",
        severity=Severity.ERROR,
        summary="The file, or the configuration inside of a manifest, is no JSON and no YAML",
        consequence="Multus refuses every pod that asks for the network; for a migration network"
        " all virt-handler pods stay in ContainerCreating.",
        remedy="mend the text at the place that is named",
        check=undecodable,
        wrong=nad('{"cniVersion": "1.0.0", "type": "bridge", "bridge": ▶br-lan}', name="lan"),
        right=nad('{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-lan"}', name="lan"),
        rows=(7,),
    ),
    Rule(
        code="SB002",
        name="repeated-key",
        severity=Severity.WARNING,
        summary="An object has the same key twice",
        consequence="The plugins use the last one; kubectl refuses such a manifest when it"
        " validates strictly.",
        remedy="keep one of the two",
        check=repeated_key,
        wrong=conf(
            _PLAIN.replace('"type"', '"bridge": "br-old",\n  "type"').replace(
                '  "bridge": "br-lan"', '  ▶"bridge": "br-lan"'
            )
        ),
        right=conf(_PLAIN),
    ),
    Rule(
        code="SB003",
        name="nothing-to-check",
        severity=Severity.NOTE,
        summary="A file that was named holds nothing that any rule looks at",
        consequence="A finding-free answer says nothing about it.",
        remedy="give CNI configurations, NetworkAttachmentDefinitions, HyperConverged, KubeVirt or"
        " NodeNetworkConfigurationPolicy objects, or an intent file",
        check=nothing_to_check,
        wrong={"pod.yaml": "▶apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n"},
        right=conf(_PLAIN),
    ),
    Rule(
        code="SB004",
        name="wrong-extension",
        severity=Severity.ERROR,
        summary="The file's extension says list and the content does not, or the other way round",
        consequence="Runtimes choose the parser by the extension: the network is not loaded, and"
        " the node may stay NotReady.",
        remedy="name a list of plugins *.conflist, and a single configuration *.conf",
        check=wrong_extension,
        wrong={"10-lan.conf": _LIST.replace('  "plugins"', '  ▶"plugins"')},
        right={"10-lan.conflist": _LIST},
    ),
    Rule(
        code="SB005",
        name="defined-twice",
        severity=Severity.WARNING,
        summary="Two manifests of one cluster define the same object",
        consequence="The one that is applied last wins, so the order of files decides.",
        remedy="keep one of the two, or give the other a name of its own",
        check=defined_twice,
        wrong={
            "one.yaml": nad('{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-a"}')[
                "nad.yaml"
            ],
            "two.yaml": nad('{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-b"}')[
                "nad.yaml"
            ].replace("name: m", "name: ▶m"),
        },
        right={
            "one.yaml": nad('{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-a"}')[
                "nad.yaml"
            ],
            "two.yaml": nad(
                '{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-b"}', name="other-net"
            )["nad.yaml"],
        },
    ),
)
