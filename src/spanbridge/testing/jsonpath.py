# SPDX-License-Identifier: Apache-2.0
"""
The part of kubectl's JSONPath that scripts use.

Source: Kubernetes documentation, reference/kubectl/jsonpath.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

_STEP: Final = re.compile(
    r"""\.(?P<key>(?:\\.|[^.\[\]\\])+)
      | \[(?P<index>\d+)\]
      | \[(?P<every>\*)\]
      | \[\?\(@\.(?P<field>\w+)=="(?P<value>[^"]*)"\)\]""",
    re.VERBOSE,
)


def render_jsonpath(template: str, root: object) -> str:
    """Fill in a template; what is not there is empty, as in kubectl."""
    return _render(_tokens(template), root)


def _tokens(template: str) -> list[str]:
    """Cut at braces, but not at braces inside of quotes: text and ``{expression}`` alternate."""
    return re.findall(r"""\{(?:"[^"]*"|'[^']*'|[^{}"'])*\}|[^{]+""", template)


def _render(tokens: list[str], root: object) -> str:
    out = []
    while tokens:
        token = tokens.pop(0)
        if not token.startswith("{"):
            out.append(token)
            continue
        expression = token[1:-1].strip()
        if expression.startswith("range "):
            body = _until_end(tokens)
            values = _select(expression.removeprefix("range ").strip(), root)
            out += [_render(list(body), value) for value in values]
        elif expression[:1] in {'"', "'"}:
            out.append(json.loads(f'"{expression[1:-1]}"'))
        else:
            out.append(" ".join(_text(value) for value in _select(expression, root)))
    return "".join(out)


def _until_end(tokens: list[str]) -> list[str]:
    body: list[str] = []
    while tokens[0] != "{end}":
        body.append(tokens.pop(0))
    tokens.pop(0)
    return body


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _select(expression: str, root: object) -> Iterator[object]:
    values, at = [root], 1 if expression.startswith("@") else 0
    while at < len(expression):
        step = _STEP.match(expression, at)
        if step is None:
            raise ValueError(f"unknown JSONPath: {expression[at:]}")
        at = step.end()
        values = [found for value in values for found in _follow(step, value)]
    yield from values


def _follow(step: re.Match[str], value: object) -> Iterator[object]:
    if step["key"] is not None:
        key = re.sub(r"\\(.)", r"\1", step["key"])
        if isinstance(value, dict) and key in value:
            yield value[key]
    elif step["index"] is not None:
        if isinstance(value, list) and int(step["index"]) < len(value):
            yield value[int(step["index"])]
    elif step["every"]:
        yield from value if isinstance(value, list) else ()
    elif isinstance(value, list):
        yield from (each for each in value if each.get(step["field"]) == step["value"])
