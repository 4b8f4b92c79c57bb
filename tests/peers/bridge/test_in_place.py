# SPDX-License-Identifier: Apache-2.0
"""A node changes from the reference plugin to ours, and back, with pods on it."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from spanbridge.testing.plugin import AskTool, MakeNetns, Netns
from spanbridge.testing.runtime import Cni, Conf

REFERENCE = next(filter(Path.is_dir, map(Path, ("/usr/lib/cni", "/opt/cni/bin"))), Path("/none"))


@pytest.fixture
def reference(cni: Cni) -> Cni:
    """The same runtime with the CNI project's programs."""
    assert (REFERENCE / "bridge").exists(), "Debian: containernetworking-plugins"
    return dataclasses.replace(cni, bin_dir=REFERENCE)


@pytest.fixture
def conf(tmp_path: Path) -> Conf:
    return {
        "cniVersion": "1.0.0",
        "name": "in-place",
        "type": "bridge",
        "bridge": "br0",
        "isDefaultGateway": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00:12::/64"}]],
            "dataDir": str(tmp_path / "networks"),
        },
    }


def leases(conf: Conf) -> list[str]:
    """The addresses that are reserved."""
    names = (each.name for each in (Path(conf["ipam"]["dataDir"]) / "in-place").iterdir())
    return sorted(name for name in names if name.startswith(("10.", "fd00:")))


def veths(ip_json: AskTool, netns: Netns) -> list[str]:
    return [link["ifname"] for link in ip_json("link", "show", "type", "veth", netns=netns)]


@pytest.mark.parametrize("order", ["reference then ours", "ours then reference"])
def test_one_deletes_what_the_other_attached(
    cni: Cni, reference: Cni, conf: Conf, pod: Netns, ip_json: AskTool, order: str
) -> None:
    first, second = (reference, cni) if order.startswith("reference") else (cni, reference)
    first.add(conf, pod)
    assert leases(conf) != []

    second.delete(conf, pod)

    assert (veths(ip_json, pod), leases(conf)) == ([], [])
    assert cni.node is not None
    assert veths(ip_json, cni.node) == []


@pytest.mark.parametrize("order", ["reference then ours", "ours then reference"])
def test_one_confirms_what_the_other_attached(
    cni: Cni, reference: Cni, conf: Conf, pod: Netns, order: str
) -> None:
    first, second = (reference, cni) if order.startswith("reference") else (cni, reference)
    result = first.add(conf, pod)

    assert second.check(conf, pod, result).result is None


def test_pods_of_both_share_bridge_gateway_and_range(
    cni: Cni, reference: Cni, conf: Conf, pod: Netns, netns: MakeNetns
) -> None:
    other = netns("pod")
    first = reference.add(conf, pod, container="c1")
    second = cni.add(conf, other, container="c2")

    assert [ip["address"] for ip in second["ips"]] == ["10.1.2.3/24", "fd00:12::3/64"]
    assert other.ping(first["ips"][0]["address"].partition("/")[0])
    assert other.ping("10.1.2.1")


def shape(result: Any, pod: Netns) -> Any:  # noqa: ANN401  # a JSON document
    """A result without what is random, and without the empty ``dns`` of old references."""
    kept = {key: value for key, value in result.items() if value != {}}
    return kept | {
        "interfaces": [
            (sorted(each), each["name"][:4], each.get("sandbox") == str(pod.path))
            for each in result["interfaces"]
        ]
    }


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_results_have_the_same_shape(
    cni: Cni, reference: Cni, conf: Conf, netns: MakeNetns, *, version: str
) -> None:
    conf |= {"cniVersion": version}
    shapes = []
    for plugin, node in ((reference, netns("node")), (cni, netns("node"))):
        pod = netns("pod")
        shapes.append(shape(plugin.on(node).add(conf, pod), pod))
        plugin.on(node).delete(conf, pod)
        conf["ipam"] = conf["ipam"] | {"dataDir": conf["ipam"]["dataDir"] + "-again"}

    assert shapes[0] == shapes[1]
