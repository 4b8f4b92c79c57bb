# SPDX-License-Identifier: Apache-2.0
"""Configurations wherever people keep them."""

import json
from pathlib import Path

import pytest

from spanbridge.base.errors import ConfigError, DecodeError
from spanbridge.kube.documents import PluginConf, parse_documents, read_documents

CONF = {"cniVersion": "1.0.0", "name": "net", "type": "bridge"}
CONFLIST = {
    "cniVersion": "1.1.0",
    "name": "list-net",
    "plugins": [{"type": "bridge", "name": "other", "cniVersion": "0.3.1"}, {"type": "tuning"}],
}


def nad(config: object, name: str = "bridge-net", indent: str = "") -> str:
    text = config if isinstance(config, str) else json.dumps(config)
    lines = [
        "apiVersion: k8s.cni.cncf.io/v1",
        "kind: NetworkAttachmentDefinition",
        f"metadata: {{name: {name}, namespace: default}}",
        f"spec: {{config: {json.dumps(text)}}}",
    ]
    return "".join(f"{indent}{line}\n" for line in lines)


def shown(found: list[PluginConf]) -> list[tuple[str, str, str, str]]:
    roots = [(one.origin, one.root) for one in found]
    return [
        (origin, root.text("name"), root.text("cniVersion"), root.text("type"))
        for origin, root in roots
    ]


def test_a_plain_conf_is_itself() -> None:
    found = parse_documents(json.dumps(CONF), "x.conf")

    assert shown(found) == [("x.conf", "net", "1.0.0", "bridge")]
    assert found[0].root.raw == CONF


def test_a_conflist_pushes_name_and_version_into_its_plugins() -> None:
    found = parse_documents(json.dumps(CONFLIST), "x.conflist")

    assert shown(found) == [
        ("x.conflist, plugin 1", "list-net", "1.1.0", "bridge"),
        ("x.conflist, plugin 2", "list-net", "1.1.0", "tuning"),
    ]
    assert [one.root.at("type") for one in found] == ["/plugins/0/type", "/plugins/1/type"]


def test_a_conf_may_be_written_in_yaml() -> None:
    found = parse_documents("cniVersion: 1.0.0\nname: net\ntype: bridge\nvlan: 2\n", "x.yaml")

    assert shown(found) == [("x.yaml", "net", "1.0.0", "bridge")]
    assert found[0].root.raw["vlan"] == 2


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"cniVersion": "1.0.0", "type": "bridge"}, "bridge-net"),
        ({"cniVersion": "1.0.0", "type": "bridge", "name": ""}, "bridge-net"),
        (CONF, "net"),
    ],
    ids=["missing", "empty", "given"],
)
def test_a_nad_gives_its_name_to_a_configuration_without(config: dict[str, str], name: str) -> None:
    found = parse_documents(nad(config), "x.yaml")
    origin = "x.yaml, NetworkAttachmentDefinition bridge-net"

    assert shown(found) == [(origin, name, "1.0.0", "bridge")]


def test_a_nad_in_json_is_understood() -> None:
    manifest = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "n"},
        "spec": {"config": json.dumps(CONF)},
    }

    assert shown(parse_documents(json.dumps(manifest), "x.json"))[0][1:] == (
        "net",
        "1.0.0",
        "bridge",
    )


def test_a_nad_may_hold_a_conflist() -> None:
    found = parse_documents(nad(CONFLIST), "-")

    assert [one.origin.rpartition(", ")[2] for one in found] == ["plugin 1", "plugin 2"]


def test_a_list_of_nads_is_opened_and_others_are_passed_over() -> None:
    items = "".join(f"- {nad(CONF, name, indent='  ').lstrip()}" for name in ("one", "two"))
    text = f"apiVersion: v1\nkind: List\nitems:\n{items}- apiVersion: v1\n  kind: Pod\n- text\n"

    assert [one.origin.rpartition(" ")[2] for one in parse_documents(text, "-")] == ["one", "two"]


def test_several_documents_are_all_read() -> None:
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
    text = "---\n".join(["# comment\n", nad(CONF, "one"), pod, "\n", nad(CONF, "two")])

    assert [one.origin.rpartition(" ")[2] for one in parse_documents(text, "-")] == ["one", "two"]


@pytest.mark.parametrize(
    "text",
    [nad(""), nad("  \n"), "kind: NetworkAttachmentDefinition\n",
     "kind: NetworkAttachmentDefinition\nmetadata: {name: n}\nspec: {}\n"],
    ids=["empty", "blank", "no spec", "no config"],
)  # fmt: skip
def test_an_empty_spec_config_refers_to_a_file_on_the_node(text: str) -> None:
    with pytest.raises(ConfigError, match=r"spec\.config is empty") as caught:
        parse_documents(text, "x.yaml")

    assert caught.value.pointer == "/spec/config"
    assert "file on the nodes" in caught.value.hint


@pytest.mark.parametrize(
    ("config", "cause"),
    [('{\n"a": b}', "line 2 column 6"), ("[]", "it is a list"), ("5", "an integer"),
     ("1" * 5000, "4300")],
    ids=["broken", "list", "number", "long number"],
)  # fmt: skip
def test_broken_json_inside_yaml_is_located(config: str, cause: str) -> None:
    with pytest.raises(DecodeError, match="bridge-net") as caught:
        parse_documents(nad(config), "x.yaml")

    assert cause in caught.value.message
    assert (caught.value.pointer, bool(caught.value.hint)) == ("/spec/config", True)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("kind: NetworkAttachmentDefinition\nmetadata: 5\n", "/metadata"),
        ("kind: NetworkAttachmentDefinition\nspec: {config: {a: 1}}\n", "/spec/config"),
        ('{"name": "n", "plugins": {}}', "/plugins"),
        ('{"name": "n", "plugins": ["bridge"]}', "/plugins/0"),
        ('{"name": 5}', "/name"),
    ],
)
def test_a_field_of_the_wrong_type_is_pointed_at(text: str, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_documents(text, "-")

    assert caught.value.pointer == field


@pytest.mark.parametrize(
    "text",
    ["a: b: c", "{", '{"a": 1', "\t- x", "a: &x [*x]", "? [a, b]\n: c", "%YAML 9", "[" * 5000],
    ids=repr,
)
def test_what_is_neither_json_nor_yaml_is_a_decode_failure(text: str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_documents(text, "x.yaml")

    assert "x.yaml" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "just words", "- a\n- b\n", "5", "apiVersion: v1\nkind: Pod\n", "kind: List\nitems: []"],
    ids=repr,
)
def test_a_text_without_a_configuration_says_what_to_give(text: str) -> None:
    with pytest.raises(DecodeError, match="cannot find a network configuration in x") as caught:
        parse_documents(text, "x")

    assert "NetworkAttachmentDefinition" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("name: n\n5: x\n", {"name": "n", "5": "x"}),
        ("name: n\nbuilt: 2024-05-01\n", {"name": "n", "built": "2024-05-01"}),
        ("name: n\nvlan: 0x10\n", {"name": "n", "vlan": 16}),
    ],
)
def test_what_yaml_has_more_than_json_becomes_json(text: str, raw: dict[str, object]) -> None:
    assert parse_documents(text, "-")[0].root.raw == raw


def test_a_file_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "10-net.conf"
    path.write_text(json.dumps(CONF))

    assert read_documents(path)[0].origin == str(path)


def test_a_file_in_another_encoding_is_a_decode_failure(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b'{"name": "\xe9"}')

    with pytest.raises(DecodeError, match="not UTF-8"):
        read_documents(path)
