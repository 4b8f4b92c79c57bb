# SPDX-License-Identifier: Apache-2.0
"""An intent out of a decoded file; complaints say line and column."""

import contextlib
from collections.abc import Iterator, Sequence

from spanbridge.base.errors import ConfigError, DecodeError
from spanbridge.kube.source import Document
from spanbridge.model.intent import API_VERSION, KIND, Intent
from spanbridge.model.intent_parser import parse_intent
from spanbridge.model.reader import Node


def find_intent(documents: Sequence[Document], origin: str) -> Document:
    """
    Find the one intent among the documents of a file.

    Raises:
        DecodeError: There is none, or more than one.
    """
    found = [one for one in documents if isinstance(one.value, dict)
             and one.value.get("kind") == KIND]  # fmt: skip
    if len(found) != 1:
        raise DecodeError(
            f"cannot plan {origin}: it holds {len(found) or 'no'} object of kind {KIND}",
            hint=f"begin one with apiVersion: {API_VERSION} and kind: {KIND}",
        )
    repeated = found[0].repeated()
    if repeated:
        raise DecodeError(
            f"{repeated[0]}: cannot use the intent: a key is there twice", hint="keep one of them"
        )
    return found[0]


@contextlib.contextmanager
def located(document: Document) -> Iterator[None]:
    """Put file, line and column before the complaints about an intent."""
    try:
        yield
    except ConfigError as error:
        if not error.pointer:  # about the lock or an option, not about the intent
            raise
        position = document.key_position(error.pointer)
        raise ConfigError(
            f"{position}: {error.message}", hint=error.hint, pointer=error.pointer
        ) from error


def load_intent(document: Document) -> Intent:
    """
    Read the intent in a document.

    Raises:
        ConfigError: Its message begins with file, line and column.
    """
    value = document.value
    with located(document):
        return parse_intent(Node(value if isinstance(value, dict) else {}))
