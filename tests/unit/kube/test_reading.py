# SPDX-License-Identifier: Apache-2.0
"""Objects through a real HTTP server that serves them and refuses as an API server does."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spanbridge.base.errors import InputError, NodeError, RetryError
from spanbridge.kube.reading import open_cluster, read_cluster, wishes
from spanbridge.kube.saved import ClusterObjects
from spanbridge.testing.api_server import (
    TOKEN,
    Served,
    make_server_certificate,
    serving,
    write_kubeconfig,
)
from spanbridge.testing.cluster_objects import NAMESPACE, NETWORK, Object, make_objects, make_pod

NOW = time.time()


@pytest.fixture
def objects() -> list[Object]:
    return make_objects("east", first=10, seen_at=NOW)


def _read(tmp_path: Path, url: str, *, token: str = TOKEN, hco: str = "") -> ClusterObjects:
    kubeconfig = write_kubeconfig(tmp_path / "config", [("admin@east", url)], token=token)
    api = open_cluster("east", "admin@east", str(kubeconfig))
    return read_cluster(api, NAMESPACE, wishes(NETWORK, hco))


def _names(found: ClusterObjects, kind: str) -> list[str]:
    return [each["metadata"]["name"] for each in found.found[kind]]


def test_all_objects_arrive_as_they_are_saved(tmp_path: Path, objects: list[Object]) -> None:
    with serving(Served(objects)) as url:
        found = _read(tmp_path, url)
    every = [each for kind in found.found.values() for each in kind]
    key = str
    assert sorted(every, key=key) == sorted(objects, key=key)
    assert abs(found.seen_at - time.time()) < 60


def test_long_lists_come_in_pages(tmp_path: Path, objects: list[Object]) -> None:
    served = Served(objects, page_max=3)
    with serving(served) as url:
        assert len(_names(_read(tmp_path, url), "Pod")) == 4
    assert sum("/pods?" in each for each in served.asked) == 2


def test_only_what_is_needed_is_asked_for(tmp_path: Path, objects: list[Object]) -> None:
    served = Served([*objects, make_pod("virt-api", "virt-api", node="n", address="10.88.0.9")])
    with serving(served) as url:
        assert "virt-api" not in _names(_read(tmp_path, url), "Pod")
    assert not any("secrets" in each for each in served.asked)
    assert all(each.startswith("GET ") for each in served.asked)


def test_a_group_that_nobody_installed_has_no_objects(
    tmp_path: Path, objects: list[Object]
) -> None:
    with serving(Served(objects, absent=frozenset({"kubevirt.io"}))) as url:
        found = _read(tmp_path, url)
    assert found.found["KubeVirt"] == ()


def test_an_object_that_is_not_there_is_none(tmp_path: Path, objects: list[Object]) -> None:
    left = [each for each in objects if each["kind"] != "Lease"]
    with serving(Served(left)) as url:
        assert _read(tmp_path, url).found["Lease"] == ()


def test_hyperconverged_is_asked_for_in_the_version_of_the_intent(
    tmp_path: Path, objects: list[Object]
) -> None:
    served = Served(objects)
    with serving(served) as url:
        _read(tmp_path, url, hco="v1beta1")
    assert any("/apis/hco.kubevirt.io/v1beta1/" in each for each in served.asked)


def test_whoever_is_forbidden_learns_every_rule_that_is_missing(
    tmp_path: Path, objects: list[Object]
) -> None:
    refused = frozenset({"pods", "leases"})
    with serving(Served(objects, forbidden=refused)) as url, pytest.raises(NodeError) as caught:
        _read(tmp_path, url)
    assert caught.value.message == (
        "cannot read cluster east: its API server forbids to list pods and to get leases "
        "in namespace openshift-cnv"
    )
    assert '{apiGroups: [""], resources: [pods], verbs: [list]}' in caught.value.hint
    assert (
        '{apiGroups: ["coordination.k8s.io"], resources: [leases], '
        "resourceNames: [virt-synchronization-controller], verbs: [get]}"
    ) in caught.value.hint


def test_nodes_may_be_forbidden_and_then_nobody_looked(
    tmp_path: Path, objects: list[Object]
) -> None:
    with serving(Served(objects, forbidden=frozenset({"nodes"}))) as url:
        assert not _read(tmp_path, url).looked("Node")


def test_a_token_that_ended_says_to_log_in_again(tmp_path: Path, objects: list[Object]) -> None:
    with serving(Served(objects)) as url, pytest.raises(NodeError) as caught:
        _read(tmp_path, url, token="stale")  # noqa: S106  # of tests
    assert "does not know who we are: Unauthorized" in caught.value.message
    assert "--context admin@east" in caught.value.hint


def test_a_server_that_is_not_there_cannot_be_reached(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(RetryError) as caught:
        _read(tmp_path, f"http://127.0.0.1:{port}")
    assert "cannot be reached" in caught.value.message
    assert "Connection refused" in caught.value.message


def test_a_login_page_is_no_api_server(tmp_path: Path) -> None:
    with serving(Served([], broken=True)) as url, pytest.raises(NodeError, match="answers no JSON"):
        _read(tmp_path, url)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "server.pem"
    path.write_text(make_server_certificate())
    return path


def test_tls_with_the_authority_of_the_kubeconfig(
    tmp_path: Path, objects: list[Object], certificate: Path
) -> None:
    with serving(Served(objects), certificate) as url:
        path = write_kubeconfig(tmp_path / "config", [("east", url)], authority=certificate)
        found = read_cluster(
            open_cluster("east", "east", str(path)), NAMESPACE, wishes(NETWORK, "")
        )
    assert len(found.found["Pod"]) == 4


def test_a_server_whose_certificate_is_strange_is_not_trusted(
    tmp_path: Path, objects: list[Object], certificate: Path
) -> None:
    with serving(Served(objects), certificate) as url, pytest.raises(RetryError) as caught:
        _read(tmp_path, url)
    assert "certificate verify failed" in caught.value.message


def test_without_a_kubeconfig_it_says_what_else_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(InputError) as caught:
        open_cluster("east", "east")
    assert f"there is no kubeconfig {tmp_path}/none" in caught.value.message
    assert "--objects" in caught.value.hint


def test_an_unknown_context_lists_those_that_there_are(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", [("a", "http://x"), ("b", "http://y")])
    with pytest.raises(InputError) as caught:
        open_cluster("east", "east-admin", str(path))
    assert "has no context east-admin" in caught.value.message
    assert caught.value.hint == "write into the intent one of: a, b"


def test_contexts_may_come_from_several_files(
    tmp_path: Path, objects: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Served(objects)) as url:
        first = write_kubeconfig(tmp_path / "one", [("west", "http://x")])
        second = write_kubeconfig(tmp_path / "two", [("east", url)])
        monkeypatch.setenv("KUBECONFIG", f"{first}:{second}")
        api = open_cluster("east", "east")
        assert len(read_cluster(api, NAMESPACE, wishes(NETWORK, "")).found["Pod"]) == 4


@pytest.mark.parametrize("text", ["{", "- a", "contexts: 7", "contexts: [{name: 1}]"])
def test_a_kubeconfig_that_cannot_be_read_is_said_to_be_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(InputError, match="cannot ask cluster east"):
        open_cluster("east", "east", str(path))


def test_a_program_for_credentials_that_fails_is_named(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "config", [("east", "http://x")])
    login = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: 'false'}}"
    path.write_text(path.read_text().replace("token: sesame", login[1:-1]))
    with pytest.raises(NodeError, match="process returned 1"):
        open_cluster("east", "east", str(path))


def test_the_client_library_is_imported_by_whoever_asks_a_cluster_alone() -> None:
    program = (
        "import sys, spanbridge.kube.reading, spanbridge.kube.survey, spanbridge.cli.program;"
        "print([each for each in sys.modules if each.split('.')[0] == 'kubernetes'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
