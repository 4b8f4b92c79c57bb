# SPDX-License-Identifier: Apache-2.0
"""YAML text: what Kubernetes would read as something else than text is quoted."""

import pytest
import yaml

from spanbridge.kube.manifest import render_name, render_yaml

NAMES = [
    "yes",
    "no",
    "on",
    "off",
    "true",
    "null",
    "1",
    "1.5",
    "0x1f",
    "1e3",
    "node-1",
    "n1.example",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_back_as_text(name: str) -> None:
    assert yaml.safe_load(f"key: {render_name(name)}") == {"key": name}


@pytest.mark.parametrize("name", NAMES)
def test_a_text_of_a_manifest_is_read_back_as_text(name: str) -> None:
    assert yaml.safe_load(render_yaml([{"key": name}], "a comment")) == {"key": name}


def test_several_lines_stand_as_a_block_below_a_comment() -> None:
    text = render_yaml([{"list": [{"config": "{\n}\n"}]}, {"next": 1}], "one\ntwo")

    assert text == "# one\n# two\nlist:\n  - config: |\n      {\n      }\n---\nnext: 1\n"
