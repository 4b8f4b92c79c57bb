# SPDX-License-Identifier: Apache-2.0
"""Objects of clusters, shaped as real ones, become endpoints, trust and remarks."""

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanbridge.kube.saved import ClusterObjects, flatten, sort_objects
from spanbridge.kube.settings import Wanted
from spanbridge.kube.survey import ObjectSurvey, survey_objects
from spanbridge.model.observations import Endpoint, Remark, Role
from spanbridge.testing.cluster_objects import (
    NETWORK,
    STATUS,
    Object,
    changed,
    iso,
    make_objects,
    without,
)
from spanbridge.testing.clusters import make_certificate
from spanbridge.testing.crds import NO_CRDS, faults_of, find_crds, read_schemas

NOW = time.time() + 3600
"""Certificates that are made on the way are valid then."""

WANTED = Wanted(NETWORK, 2, 1500)
SYNC = "virt-synchronization-controller"
STATUS_AT = "/metadata/annotations/k8s.v1.cni.cncf.io~1network-status"


@pytest.fixture
def east() -> list[Object]:
    return make_objects("east", first=10, seen_at=NOW)


def _survey(*clusters: list[Object]) -> ObjectSurvey:
    names = ("east", "west", "north")
    return survey_objects(
        [
            ClusterObjects(name, "openshift-cnv", f"{name}-admin", NOW, sort_objects(items))
            for name, items in zip(names, clusters, strict=False)
        ],
        WANTED,
    )


def _pods(survey: ObjectSurvey, role: Role) -> list[Endpoint]:
    return [each for each in survey.endpoints if each.role is role]


def _only(survey: ObjectSurvey) -> Remark:
    (remark,) = survey.remarks
    return remark


def _annotate(text: object) -> Callable[[Object], Any]:
    return lambda pod: pod["metadata"]["annotations"].update({STATUS: text})


def _entry(**fields: object) -> str:
    entry = {"name": "openshift-cnv/migration-net", "interface": "migration0", **fields}
    return json.dumps([{"name": "other", "interface": "eth0", "ips": ["10.128.2.7"]}, entry])


def test_a_healthy_cluster_gives_its_pods_and_no_remark(east: list[Object]) -> None:
    survey = _survey(east)
    assert survey.remarks == ()
    assert [(each.name, each.node, each.role, each.addresses) for each in survey.endpoints] == [
        ("east/virt-handler-e1", "east-1", Role.HANDLER, ("10.88.0.10",)),
        ("east/virt-handler-e2", "east-2", Role.HANDLER, ("10.88.0.11",)),
        (f"east/{SYNC}-6c9d-e1", "east-1", Role.LEADER, ("10.88.0.12",)),
        (f"east/{SYNC}-6c9d-e2", "east-2", Role.STANDBY, ("10.88.0.13",)),
    ]
    first = survey.endpoints[0]
    assert (first.mac, first.pod_address, first.mtu) == ("2e:11:5a:04:77:0a", "10.128.2.10", 0)
    assert survey.clusters[0].context == "east-admin"


def test_the_objects_of_the_tests_would_be_taken_by_an_api_server(east: list[Object]) -> None:
    crds = find_crds(Path(__file__).parents[3])
    if crds is None:
        pytest.skip(NO_CRDS)
    schemas = read_schemas(
        crds / "kubevirt_kv-resource.yaml", crds / "nad-client_networks-crd.yaml"
    )
    checked = [each for each in east if each["kind"] in {"KubeVirt", "NetworkAttachmentDefinition"}]
    assert [fault for each in checked for fault in faults_of(each, schemas)] == []
    assert len(checked) == 2


def test_a_pod_without_the_network_has_no_device(east: list[Object]) -> None:
    def forget(pod: Object) -> None:
        del pod["metadata"]["annotations"]

    pod = _pods(_survey(changed(east, "Pod", "virt-handler-e1", forget)), Role.HANDLER)[0]
    assert (pod.addresses, pod.mac, pod.mtu, pod.pod_address) == ((), "", 0, "10.128.2.10")


def test_only_global_addresses_count_and_their_order_stays(east: list[Object]) -> None:
    ips = ["fe80::1", "fd00:88::000a", "169.254.3.4", "10.88.0.10/24", "ff02::1"]
    text = _entry(ips=ips, mac="2e:11:5a:04:77:90", mtu=9000)
    survey = _survey(changed(east, "Pod", "virt-handler-e1", _annotate(text)))
    pod = survey.endpoints[0]
    assert (pod.addresses, pod.mtu) == (("fd00:88::a", "10.88.0.10"), 9000)
    assert survey.remarks == ()


@pytest.mark.parametrize(
    ("text", "pointer", "what"),
    [
        ("[{", STATUS_AT, "it is no JSON"),
        ("{}", STATUS_AT, "it is no list"),
        (["x"], STATUS_AT, "it is no text"),
        ('["x"]', f"{STATUS_AT}/0", "it is a string"),
        (_entry(ips="10.88.0.10"), f"{STATUS_AT}/1/ips", "'ips'"),
        (_entry(ips=[7]), f"{STATUS_AT}/1/ips/0", "it is an integer"),
        (_entry(mtu="9000"), f"{STATUS_AT}/1/mtu", "'mtu'"),
    ],
    ids=["no JSON", "no list", "no text", "no object", "no list of ips", "no ip text", "MTU text"],
)
def test_a_malformed_annotation_is_a_grave_remark_and_the_pod_is_left_out(
    east: list[Object], text: object, pointer: str, what: str
) -> None:
    survey = _survey(changed(east, "Pod", "virt-handler-e2", _annotate(text)))
    remark = next(each for each in survey.remarks if each.subject.startswith("Pod"))
    assert remark.subject == "Pod openshift-cnv/virt-handler-e2"
    assert (remark.pointer, remark.grave) == (pointer, True)
    assert what in remark.what
    assert "delete pod virt-handler-e2" in remark.remedy
    assert [each.pod for each in _pods(survey, Role.HANDLER)] == ["virt-handler-e1"]


def test_an_address_that_is_none_is_told_and_the_others_are_kept(east: list[Object]) -> None:
    text = _entry(ips=["10.88.0.300", "10.88.0.10"], mac="2e:11:5a:04:77:90")
    survey = _survey(changed(east, "Pod", "virt-handler-e1", _annotate(text)))
    assert survey.endpoints[0].addresses == ("10.88.0.10",)
    remark = _only(survey)
    assert (remark.pointer, remark.node, remark.grave) == (f"{STATUS_AT}/1/ips/0", "east-1", False)


def test_a_pod_of_another_network_is_told(east: list[Object]) -> None:
    text = _entry(ips=["10.88.0.10"], mac="2e:11:5a:04:77:90", name="openshift-cnv/old-net")
    survey = _survey(changed(east, "Pod", "virt-handler-e1", _annotate(text)))
    assert "openshift-cnv/old-net" in _only(survey).what


def test_a_pending_handler_is_grave_and_says_why(east: list[Object]) -> None:
    def hold(pod: Object) -> None:
        waiting = {"waiting": {"reason": "ContainerCreating"}}
        pod["status"] = {"phase": "Pending", "containerStatuses": [{"state": waiting}]}
        del pod["metadata"]["annotations"][STATUS]

    # The node has no other virt-handler: that is not told a second time.
    survey = _survey(changed(east, "Pod", "virt-handler-e1", hold))
    remark = _only(survey)
    assert (remark.what, remark.node) == ("it is Pending: ContainerCreating", "east-1")
    assert remark.pointer == "/status/containerStatuses/0/state/waiting"
    assert remark.grave
    assert [each.pod for each in _pods(survey, Role.HANDLER)] == ["virt-handler-e2"]


def test_a_pod_that_no_node_takes_says_the_schedulers_reason(east: list[Object]) -> None:
    def hold(pod: Object) -> None:
        pod["spec"].pop("nodeName")
        pod["status"] = {
            "phase": "Pending",
            "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                 "message": "0/3 nodes are available: 3 Insufficient bridge"}
            ],
        }  # fmt: skip

    survey = _survey(changed(without(east, "Node"), "Pod", f"{SYNC}-6c9d-e2", hold))
    assert _only(survey).what == "it is Pending: 0/3 nodes are available: 3 Insufficient bridge"
    assert not _only(survey).grave


def test_a_handler_that_crashes_again_and_again_stays_an_endpoint(east: list[Object]) -> None:
    def crash(pod: Object) -> None:
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}
        pod["status"]["containerStatuses"][0]["state"] = {"waiting": waiting}

    survey = _survey(changed(east, "Pod", "virt-handler-e1", crash))
    assert "CrashLoopBackOff: back-off 5m0s" in _only(survey).what
    assert len(_pods(survey, Role.HANDLER)) == 2


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_ended_is_left_out_without_a_word(east: list[Object], phase: str) -> None:
    ended = changed(east, "Pod", f"{SYNC}-6c9d-e2", lambda pod: pod["status"].update(phase=phase))
    survey = _survey(ended)
    assert survey.remarks == ()
    assert len(survey.endpoints) == 3


def test_a_pod_that_is_being_deleted_is_left_out(east: list[Object]) -> None:
    def delete(pod: Object) -> None:
        pod["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z"

    survey = _survey(changed(without(east, "Node"), "Pod", "virt-handler-e1", delete))
    assert survey.remarks == ()
    assert len(_pods(survey, Role.HANDLER)) == 1


@pytest.mark.parametrize(
    ("change", "pointer", "why"),
    [
        (lambda spec: spec.pop("holderIdentity"), "/spec/holderIdentity", "it has no holder"),
        (lambda spec: spec.update(holderIdentity=""), "/spec/holderIdentity", "it has no holder"),
        (lambda spec: spec.update(renewTime=iso(NOW - 900)), "/spec/renewTime", "let it end 885 s"),
        (lambda spec: spec.update(holderIdentity="x"), "/spec/holderIdentity", "none of the pods"),
        (lambda spec: spec.update(leaseDurationSeconds="15"), "/spec/leaseDurationSeconds",
         "cannot be understood"),
    ],
    ids=["no holder", "empty holder", "ended", "holder is gone", "no number"],
)  # fmt: skip
def test_where_nobody_leads_all_are_standbys_and_it_is_grave(
    east: list[Object], change: Callable[[Object], Any], pointer: str, why: str
) -> None:
    survey = _survey(changed(east, "Lease", SYNC, lambda lease: change(lease["spec"])))
    remark = _only(survey)
    assert remark.subject == f"Lease openshift-cnv/{SYNC}"
    assert (remark.pointer, remark.grave) == (pointer, True)
    assert why in remark.what
    assert [each.advertised for each in _pods(survey, Role.STANDBY)] == [False, False]
    assert not _pods(survey, Role.LEADER)


def test_a_lease_that_is_not_there_is_told_from_one_that_nobody_saved(east: list[Object]) -> None:
    unsaved = _survey(without(east, "Lease"))
    assert not _only(unsaved).grave
    assert {each.role for each in unsaved.endpoints} == {Role.HANDLER}
    items = sort_objects(without(east, "Lease")) | {"Lease": ()}
    looked = survey_objects([ClusterObjects("east", "openshift-cnv", "", NOW, items)], WANTED)
    assert (_only(looked).what, _only(looked).grave) == ("there is none", True)


def test_a_clock_a_minute_off_ends_no_lease(east: list[Object]) -> None:
    late = changed(east, "Lease", SYNC, lambda one: one["spec"].update(renewTime=iso(NOW - 60)))
    assert _survey(late).remarks == ()


def test_the_holder_may_have_something_behind_the_host_name(east: list[Object]) -> None:
    holder = f"{SYNC}-6c9d-e2_5f1c"
    named = changed(east, "Lease", SYNC, lambda one: one["spec"].update(holderIdentity=holder))
    assert [each.pod for each in _pods(_survey(named), Role.LEADER)] == [f"{SYNC}-6c9d-e2"]


def _advertise(*addresses: str) -> Callable[[Object], Any]:
    return lambda one: one["status"].update(synchronizationAddresses=list(addresses))


def test_a_standby_that_the_status_names_is_advertised(east: list[Object]) -> None:
    survey = _survey(changed(east, "KubeVirt", "kubevirt", _advertise("10.88.0.13:9185")))
    assert [each.advertised for each in _pods(survey, Role.STANDBY)] == [True]
    assert survey.remarks == ()


def test_addresses_are_compared_however_they_are_written(east: list[Object]) -> None:
    text = _entry(ips=["fd00:88::13"], mac="2e:11:5a:04:77:90")
    six = changed(east, "Pod", f"{SYNC}-6c9d-e2", _annotate(text))
    survey = _survey(changed(six, "KubeVirt", "kubevirt", _advertise("[fd00:88:0::0013]:9185")))
    assert [each.advertised for each in _pods(survey, Role.STANDBY)] == [True]


@pytest.mark.parametrize(
    ("addresses", "what"),
    [
        (["10.128.2.12:9185"], f"which {SYNC}-6c9d-e1 has on the pod network"),
        (["10.88.0.99:9185"], "which no synchronization controller has"),
        ([], "its status names no address to connect to"),
    ],
    ids=["pod network", "nobody's", "none"],
)
def test_what_the_status_tells_others_must_be_the_leaders(
    east: list[Object], addresses: list[str], what: str
) -> None:
    survey = _survey(changed(east, "KubeVirt", "kubevirt", _advertise(*addresses)))
    assert what in _only(survey).what
    assert _only(survey).grave
    assert _only(survey).pointer.startswith("/status/synchronizationAddresses")


def test_a_namespace_without_kubevirt_is_told(east: list[Object]) -> None:
    items = sort_objects(without(east, "KubeVirt")) | {"KubeVirt": ()}
    survey = survey_objects([ClusterObjects("east", "openshift-cnv", "e", NOW, items)], WANTED)
    assert (_only(survey).what, _only(survey).grave) == ("there is none", True)
    assert "--context e get kubevirts -A" in _only(survey).remedy


def _unconfigured(objects: list[Object], key: str) -> list[Object]:
    def forget(kubevirt: Object) -> None:
        del kubevirt["spec"]["configuration"][key]

    return changed(objects, "KubeVirt", "kubevirt", forget)


def test_a_kubevirt_that_names_no_network_is_told(east: list[Object]) -> None:
    survey = _survey(_unconfigured(east, "migrations"))
    remark = _only(survey)
    assert remark.pointer == "/spec/configuration/migrations/network"
    assert remark.what == "it names no migration network, not migration-net"


@pytest.mark.parametrize(
    ("version", "spec", "pointer"),
    [
        (
            "v1beta1",
            {"liveMigrationConfig": {"network": "old"}},
            "/spec/liveMigrationConfig/network",
        ),
        ("v1", {}, "/spec/virtualization/liveMigrationConfig/network"),
    ],
)
def test_where_hyperconverged_is_to_name_the_network_it_is_blamed(
    east: list[Object], version: str, spec: Object, pointer: str
) -> None:
    lost = _unconfigured(east, "migrations")
    meta = {"name": "kubevirt-hyperconverged", "namespace": "openshift-cnv"}
    settings = {"apiVersion": f"hco.kubevirt.io/{version}", "kind": "HyperConverged",
                "metadata": meta, "spec": spec}  # fmt: skip
    remark = _only(_survey([*lost, settings]))
    assert remark.subject == "HyperConverged openshift-cnv/kubevirt-hyperconverged"
    assert remark.pointer == pointer


def test_without_synchronization_controllers_the_gate_is_looked_at(east: list[Object]) -> None:
    none = without(east, "Pod", SYNC)
    assert "gate" not in _only(_survey(none)).what
    off = _unconfigured(none, "developerConfiguration")
    assert "feature gate DecentralizedLiveMigration is not on" in _only(_survey(off)).what


@pytest.mark.parametrize(
    ("config", "pointer", "what"),
    [
        ('{"type": "bridge", "vlan": 3}', "/spec/config/vlan", "vlan is 3, the intent says 2"),
        ('{"type": "bridge"}', "/spec/config/vlan", "vlan is 0, the intent says 2"),
        ('{"plugins": [{"type": "bridge", "vlan": 2, "mtu": 9000}]}',
         "/spec/config/plugins/0/mtu", "mtu is 9000, the intent says 1500"),
        ("{", "/spec/config", "its configuration is no JSON"),
        ("[]", "/spec/config", "its configuration is no object"),
    ],
    ids=["vlan", "no vlan", "mtu in a list", "no JSON", "no object"],
)  # fmt: skip
def test_a_network_unlike_the_intent_is_grave(
    east: list[Object], config: str, pointer: str, what: str
) -> None:
    survey = _survey(changed(east, "NetworkAttachmentDefinition", NETWORK,
                             lambda one: one["spec"].update(config=config)))  # fmt: skip
    remark = _only(survey)
    assert (remark.pointer, remark.grave) == (pointer, True)
    assert what in remark.what


def test_a_network_whose_configuration_is_on_the_nodes_is_not_judged(east: list[Object]) -> None:
    survey = _survey(changed(east, "NetworkAttachmentDefinition", NETWORK,
                             lambda one: one.update(spec={})))  # fmt: skip
    assert survey.remarks == ()


def test_a_node_without_a_handler_is_told(east: list[Object]) -> None:
    remark = _only(_survey(without(east, "Pod", "virt-handler-e2")))
    assert (remark.subject, remark.node, remark.grave) == ("Node east-2", "east-2", False)


def test_a_node_that_is_not_ready_is_told(east: list[Object]) -> None:
    gone = {"conditions": [{"type": "Ready", "status": "Unknown"}]}
    remark = _only(_survey(changed(east, "Node", "east-1", lambda one: one.update(status=gone))))
    assert (remark.what, remark.node) == ("it is not Ready", "east-1")


def test_kinds_that_nobody_saved_give_no_remark(east: list[Object]) -> None:
    pods = [each for each in east if each["kind"] in {"Pod", "Lease"}]
    survey = _survey(pods)
    assert survey.remarks == ()
    assert (survey.clusters[0].trusted, survey.clusters[0].authority) == (None, None)


def test_objects_of_other_namespaces_are_none_of_ours(east: list[Object]) -> None:
    stranger = changed(east, "Pod", "virt-handler-e1",
                       lambda pod: pod["metadata"].update(namespace="kubevirt"))  # fmt: skip
    assert len(_pods(_survey(without(stranger, "Node")), Role.HANDLER)) == 1


def test_a_typed_list_gives_its_elements_their_kind(east: list[Object]) -> None:
    pods = [{key: value for key, value in each.items() if key not in {"kind", "apiVersion"}}
            for each in east if each["kind"] == "Pod"]  # fmt: skip
    answer = {"apiVersion": "v1", "kind": "PodList", "items": pods}
    mixed = {"apiVersion": "v1", "kind": "List", "items": without(east, "Pod")}
    assert len(flatten([answer, mixed])) == len(east)
    assert len(sort_objects(flatten([answer]))["Pod"]) == 4


def test_a_bundle_says_whom_the_cluster_trusts(east: list[Object]) -> None:
    west = make_objects("west", first=110, seen_at=NOW)
    survey = _survey(east, west)
    first, second = survey.clusters
    assert first.trusted == second.trusted
    assert len(first.trusted or ()) == 2
    assert survey.remarks == ()


def test_a_bundle_of_which_a_block_is_no_certificate_trusts_nobody(east: list[Object]) -> None:
    bad = (
        make_certificate("east") + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    survey = _survey(changed(east, "ConfigMap", "kubevirt-ca",
                             lambda one: one["data"].update({"ca-bundle": bad})))  # fmt: skip
    assert survey.clusters[0].trusted == ()
    assert "block 2 is no certificate" in _only(survey).what
    assert _only(survey).grave


def test_a_block_whose_base64_is_broken_is_passed_over_and_told(east: list[Object]) -> None:
    bad = "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n" + make_certificate("east")
    survey = _survey(changed(east, "ConfigMap", "kubevirt-ca",
                             lambda one: one["data"].update({"ca-bundle": bad})))  # fmt: skip
    assert len(survey.clusters[0].trusted or ()) == 1
    assert "block 1 is broken" in _only(survey).what
    assert not _only(survey).grave


def test_a_bundle_whose_certificates_have_all_ended_trusts_nobody(east: list[Object]) -> None:
    items = sort_objects(east)
    late = ClusterObjects("east", "openshift-cnv", "", NOW + 3 * 86400, items)
    survey = survey_objects([late], WANTED)
    assert survey.clusters[0].trusted == ()
    assert any(each.what.startswith("none of its 2 certificates") for each in survey.remarks)


def test_a_door_that_virt_operator_ignores_is_grave(east: list[Object]) -> None:
    def fill(text: str) -> list[Object]:
        return changed(east, "ConfigMap", "kubevirt-external-ca",
                       lambda one: one["data"].update({"ca-bundle": text}))  # fmt: skip

    assert not _only(_survey(fill(make_certificate("west")))).grave
    bad = (
        make_certificate("west") + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    assert "virt-operator ignores all of it" in _only(_survey(fill(bad))).what
    assert _only(_survey(fill(bad))).grave


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    deeper = [each for key, one in inner for each in _paths(one, (*path, key))]
    return [path, *deeper] if path else deeper


SOUND = make_objects("east", first=10, seen_at=NOW)
PLACES = [(number, path) for number, item in enumerate(SOUND) for path in _paths(item)]
JUNK: list[object] = [None, 7, -1.5, True, "", "x", [], ["x"], [None], {}, {"x": 1}, [{"type": 3}]]


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(PLACES), st.sampled_from(JUNK))
def test_nothing_that_an_object_holds_ends_the_survey(
    place: tuple[int, tuple[str | int, ...]], junk: object
) -> None:
    items = copy.deepcopy(SOUND)
    holder: Any = items[place[0]]
    *parents, last = place[1]
    for key in parents:
        holder = holder[key]
    holder[last] = junk
    survey = _survey(items)
    assert all(each.what for each in survey.remarks)
