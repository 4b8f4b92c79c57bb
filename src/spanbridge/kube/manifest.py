# SPDX-License-Identifier: Apache-2.0
"""Objects as YAML text, always in the same order and form, so that diffs are small."""

import io
from collections.abc import Iterable, Mapping
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

Manifest = Mapping[str, object]
"""One Kubernetes object, or a patch of one, in the order in which it is written."""

_WIDTH: Final = 4096
"""Columns before a line would be folded: a folded address is hard to search for."""


def render_yaml(objects: Iterable[Manifest], comment: str) -> str:
    """Write objects as a YAML stream below a comment; several lines of text as a block."""
    yaml = YAML()
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    text.writelines(f"# {line}\n" for line in comment.splitlines())
    for number, each in enumerate(objects):
        if number:
            text.write("---\n")
        yaml.dump(_styled(each), text)
    return text.getvalue()


def _styled(value: object) -> object:
    match value:
        case Mapping():
            return {key: _styled(each) for key, each in value.items()}
        case list() | tuple():
            return [_styled(each) for each in value]
        case str() if "\n" in value:
            return LiteralScalarString(value)
    return value
