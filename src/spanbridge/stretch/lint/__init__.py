# SPDX-License-Identifier: Apache-2.0
"""
Rules that find mistakes in configurations before they are used.

Each rule is one function; everything it needs is read once for each cluster
(``cluster``, ``networks``, ``pools``, ``policies``). A rule's texts, its wrong and its
right example stand beside it: the documentation and the tests are made of them.

Source: the failure table in docs/reference/failures.md says which rule catches what.
"""

from spanbridge.kube.collect import ClusterFiles
from spanbridge.stretch.lint.catalogue import RULES, find_rule, parse_codes, scope_of
from spanbridge.stretch.lint.edits import apply_edits
from spanbridge.stretch.lint.engine import Verdict, lint
from spanbridge.stretch.lint.registry import MARKER, Edit, Rule

__all__ = [
    "MARKER",
    "RULES",
    "ClusterFiles",
    "Edit",
    "Rule",
    "Verdict",
    "apply_edits",
    "find_rule",
    "lint",
    "parse_codes",
    "scope_of",
]
