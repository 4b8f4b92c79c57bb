# SPDX-License-Identifier: Apache-2.0
"""Objects as YAML text, always in the same order and form, so that diffs are small."""

import io
from collections.abc import Iterable, Mapping
from typing import Final

import yaml

Manifest = Mapping[str, object]
"""One Kubernetes object, or a patch of one, in the order in which it is written."""

_WIDTH: Final = 4096
"""Columns before a line would be folded: a folded address is hard to search for."""

_TEXT: Final = "tag:yaml.org,2002:str"
_RESOLVER: Final = yaml.resolver.Resolver()
"""Reads ``yes``, ``on`` and ``1e3`` as something else than text, as Kubernetes does."""


class _Writer(yaml.SafeDumper):
    """Writes lists indented below their key, and text of several lines as a block."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  # as the base class has it
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # as the base class has it
        return True


def _represent_text(writer: _Writer, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return writer.represent_scalar(_TEXT, text, style=style)


_Writer.add_representer(str, _represent_text)


def render_yaml(objects: Iterable[Manifest], comment: str) -> str:
    """Write objects as a YAML stream below a comment; several lines of text as a block."""
    text = io.StringIO()
    text.writelines(f"# {line}\n" for line in comment.splitlines())
    for number, each in enumerate(objects):
        if number:
            text.write("---\n")
        yaml.dump(_plain(each), text, _Writer, sort_keys=False, width=_WIDTH, allow_unicode=True)
    return text.getvalue()


def render_name(name: str) -> str:
    """
    Write a name or a label's value as a YAML scalar, without the cost of a whole document.

    Args:
        name: Letters, digits, dots, dashes, underlines and slashes, as Kubernetes allows.
    """
    kind = _RESOLVER.resolve(yaml.ScalarNode, name, (True, False))  # type: ignore[no-untyped-call]
    return name if kind == _TEXT else f"'{name}'"


def _plain(value: object) -> object:
    """Turn mappings and sequences of any kind into those that YAML knows."""
    match value:
        case Mapping():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case str():
            return str(value)
    return value
