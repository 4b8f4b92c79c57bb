# SPDX-License-Identifier: Apache-2.0
"""All that a kernel says of network namespaces, by other tools, to be compared as text."""

import json
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any, Final

_QUESTIONS: Final = (
    ("ip", "-d", "-j", "link", "show"),
    ("ip", "-d", "-j", "address", "show"),
    ("ip", "-j", "-4", "route", "show", "table", "all"),
    ("ip", "-j", "-6", "route", "show", "table", "all"),
    ("bridge", "-j", "-compressvlans", "vlan", "show"),
    ("nft", "-j", "list", "ruleset"),
    ("tc", "-j", "qdisc", "show"),
)

_PASSING: Final = frozenset(
    {
        # nftables: numbers of rules and sets, and what was counted.
        *("handle", "index", "packets", "bytes", "metainfo"),
        # Bridges and their ports: what runs, and what was learned.
        *("hello_timer", "tcn_timer", "topology_change_timer", "gc_timer", "hold_timer"),
        *("message_age_timer", "forward_delay_timer", "topology_change", "fdb_n_learned"),
        *("topology_change_detected", "config_pending", "topology_change_ack"),
        # IPv6: when a temporary state ends.
        *("valid_life_time", "preferred_life_time", "expires", "tentative", "pref"),
        # What a queue was called.
        *("refcnt",),
    }
)
"""Keys whose values pass by themselves: indices, counters, timers."""


def read_kernel(namespaces: Iterable[str]) -> dict[str, str]:
    """Read the state of named namespaces: by namespace and question, JSON to compare."""
    return {
        f"{name}: {question}": json.dumps(_lasting(found), indent=1, sort_keys=True)
        for name in sorted(namespaces)
        for question, found in _answers(name)
    }


def _answers(name: str) -> Iterator[tuple[str, Any]]:
    """Ask everything in one shell: entering a namespace costs more than a question."""
    mark = "--- next ---"
    script = f"\necho '{mark}'\n".join(map(shlex.join, _QUESTIONS))
    command = ["ip", "netns", "exec", name, "sh", "-ec", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    parts = done.stdout.split(f"{mark}\n")
    for question, part in zip(_QUESTIONS, parts, strict=True):
        found = json.loads(part.strip() or "[]")
        # Routes are a set: their order tells only when each was made.
        ordered = sorted(found, key=str) if "route" in question else found
        yield " ".join(question), ordered


def _lasting(value: Any) -> Any:  # noqa: ANN401  # JSON
    """Leave out what passes."""
    if isinstance(value, dict):
        return {key: _lasting(each) for key, each in value.items() if key not in _PASSING}
    if isinstance(value, list):
        return [_lasting(each) for each in value]
    return value


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Tell in what two states differ, line by line."""
    found = []
    for key in sorted(before.keys() | after.keys()):
        was, is_ = (each.get(key, "").splitlines() for each in (before, after))
        if was != is_:
            found.append(key)
            found += [f"  - {line.strip()}" for line in was if line not in is_]
            found += [f"  + {line.strip()}" for line in is_ if line not in was]
    return found
