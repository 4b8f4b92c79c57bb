# SPDX-License-Identifier: Apache-2.0
"""`spanbridge verify INTENT.yaml`: by API servers, or by saved objects, without a probe."""

import json
import time
from pathlib import Path

import pytest

from spanbridge.cli.program import main
from spanbridge.testing.api_server import Served, serving, write_kubeconfig
from spanbridge.testing.cluster_objects import Object, changed, make_objects
from spanbridge.testing.clusters import SavedClusters
from spanbridge.testing.kubectl import resource_of

PAGE = Path(__file__).parents[3] / "docs/reference/verify.md"

INTENT = """
apiVersion: spanbridge.io/v1alpha1
kind: MigrationNetwork
metadata: {name: migration-net}
spec:
  vlan: 2
  subnets: [10.88.0.0/24]
  clusters:
  - {name: east, nodePools: [{uplink: eth1, count: 2}]}
  - {name: west, context: west-admin, nodePools: [{uplink: eth1, count: 2}]}
"""


@pytest.fixture
def clusters() -> dict[str, list[Object]]:
    # An hour on: certificates made by this test must be valid at the time of the lease.
    now = time.time() + 3600
    return {
        "east": make_objects("east", first=10, seen_at=now),
        "west": make_objects("west", first=110, seen_at=now),
    }


@pytest.fixture
def intent(tmp_path: Path) -> str:
    path = tmp_path / "network.yaml"
    path.write_text(INTENT)
    return str(path)


def _save(directory: Path, clusters: dict[str, list[Object]]) -> str:
    directory.mkdir()
    for name, items in clusters.items():
        answer = {"apiVersion": "v1", "kind": "List", "items": items}
        (directory / f"{name}.json").write_text(json.dumps(answer))
    return str(directory)


def _forget_west(objects: list[Object]) -> list[Object]:
    def change(one: Object) -> None:
        blocks = one["data"]["ca-bundle"].split("-----BEGIN")
        one["data"]["ca-bundle"] = "-----BEGIN" + blocks[1]

    return changed(objects, "ConfigMap", "kubevirt-ca", change)


def test_saved_objects_give_a_verdict_that_says_what_it_does_not_know(
    tmp_path: Path,
    intent: str,
    clusters: dict[str, list[Object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["verify", intent, "--objects", _save(tmp_path / "saved", clusters)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "nothing in the objects stands against it" in out
    assert "none of 14 ordered pairs was measured" in out
    assert "stays unknown" in out
    assert "may move" not in out


def test_a_fault_in_saved_objects_ends_with_1(
    tmp_path: Path,
    intent: str,
    clusters: dict[str, list[Object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    clusters["east"] = _forget_west(clusters["east"])
    saved = _save(tmp_path / "saved", clusters)
    assert main(["verify", intent, "--objects", saved, "--format", "json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert [each["code"] for each in verdict["diagnoses"]] == ["SBV60"]
    assert verdict["measured"] is False
    assert "--context west-admin -n openshift-cnv" in verdict["diagnoses"][0]["remedies"][0]


def test_objects_may_be_yaml_in_a_directory_of_each_cluster(
    tmp_path: Path, intent: str, clusters: dict[str, list[Object]]
) -> None:
    import yaml

    for name, items in clusters.items():
        (tmp_path / "saved" / name).mkdir(parents=True)
        for kind in {each["kind"] for each in items}:
            listed = [each for each in items if each["kind"] == kind]
            path = tmp_path / "saved" / name / f"{kind}.yaml"
            path.write_text(yaml.safe_dump_all(listed))
    assert main(["verify", intent, "--objects", str(tmp_path / "saved")]) == 0


def test_a_saved_verdict_can_be_had_again(
    tmp_path: Path,
    intent: str,
    clusters: dict[str, list[Object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen, saved = str(tmp_path / "seen.json"), _save(tmp_path / "saved", clusters)
    main(["verify", intent, "--objects", saved, "--save", seen])
    first = capsys.readouterr().out
    assert main(["verify", "--replay", seen]) == 0
    assert capsys.readouterr().out == first


def test_what_the_page_saves_with_kubectl_can_be_judged(
    tmp_path: Path, intent: str, clusters: dict[str, list[Object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = PAGE.read_text(encoding="utf-8").split("```sh\n")[1:]
    (block,) = (each.partition("```")[0] for each in blocks if each.startswith("mkdir -p saved"))
    made = SavedClusters(tmp_path)
    for name, items in clusters.items():
        for item in items:
            made.save(name, resource_of(item).directory, item)
        done = made.run("bash", "-euc", block.replace("east", name))
        assert done.returncode == 0, done.stderr
    assert sum(each.is_file() for each in (made.plan / "saved").rglob("*")) == 12
    monkeypatch.chdir(made.plan)
    assert main(["verify", intent, "--objects", "saved"]) == 0
    (made.plan / "saved/east/lease.json").unlink()
    assert main(["verify", intent, "--objects", "saved"]) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "neither west.json nor a directory west"),
        ('{"kind": "Secret"}', "holds none of Pod, Lease"),
        ("{", "cannot decode"),
    ],
    ids=["nothing", "other objects", "no JSON"],
)
def test_a_cluster_that_nobody_saved_is_an_input_error(
    tmp_path: Path,
    intent: str,
    clusters: dict[str, list[Object]],
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    said: str,
) -> None:
    saved = _save(tmp_path / "saved", clusters)
    path = Path(saved) / "west.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert main(["verify", intent, "--objects", saved]) == 2
    assert said in capsys.readouterr().err


def test_clusters_are_asked_through_their_api_servers(
    tmp_path: Path,
    intent: str,
    clusters: dict[str, list[Object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    clusters["west"] = _forget_west(clusters["west"])
    # The time of a live reading is the server's own, an hour before that of the leases.
    with serving(Served(clusters["east"])) as east, serving(Served(clusters["west"])) as west:
        config = write_kubeconfig(tmp_path / "config", [("east", east), ("west-admin", west)])
        code = main(["verify", intent, "--static", "--kubeconfig", str(config)])
    assert code == 1
    assert "SBV60 cluster west does not trust" in capsys.readouterr().out


def test_an_api_server_that_refuses_ends_with_3(
    tmp_path: Path,
    intent: str,
    clusters: dict[str, list[Object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(Served(clusters["east"], forbidden=frozenset({"kubevirts"}))) as url:
        config = write_kubeconfig(tmp_path / "config", [("east", url), ("west-admin", url)])
        code = main(["verify", intent, "--static", "--kubeconfig", str(config)])
    assert code == 3
    assert '{apiGroups: ["kubevirt.io"], resources: [kubevirts], verbs: [list]}' in (
        capsys.readouterr().err
    )


def test_without_an_agent_nothing_is_pretended_to_be_measured(
    tmp_path: Path,
    intent: str,
    clusters: dict[str, list[Object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(Served(clusters["east"])) as url:
        config = write_kubeconfig(tmp_path / "config", [("east", url), ("west-admin", url)])
        assert main(["verify", intent, "--kubeconfig", str(config)]) == 3
    said = capsys.readouterr().err
    assert "in no cluster an agent's pod runs" in said
    assert "--static judges objects" in said


@pytest.mark.parametrize(
    "words",
    [["--objects", "."], ["--lab", "--static"], ["--replay", "x", "--kubeconfig", "y"],
     ["--lab", "--replay", "x"], [],
     ["--replay", "x", "--throughput"]],
)  # fmt: skip
def test_what_does_not_go_together_is_wrong_usage(words: list[str]) -> None:
    assert main(["verify", *words]) == 2
