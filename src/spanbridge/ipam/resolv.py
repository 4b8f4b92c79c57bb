# SPDX-License-Identifier: Apache-2.0
"""Reading resolv.conf. Source: resolv.conf(5)."""

from spanbridge.model.result import Dns


def parse_resolv_conf(text: str) -> Dns:
    """
    Read the four keywords that a CNI result can carry; pure.

    The last ``domain`` wins, ``nameserver``, ``search`` and ``options`` add up; lines that
    begin with ``#`` or ``;``, or hold a keyword only, are skipped.
    """
    found: dict[str, list[str]] = {"nameserver": [], "domain": [], "search": [], "options": []}
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if keyword in found and values:
            found[keyword] += values if keyword in {"search", "options"} else values[:1]
    return Dns(
        nameservers=tuple(found["nameserver"]),
        domain=found["domain"][-1] if found["domain"] else "",
        search=tuple(found["search"]),
        options=tuple(found["options"]),
    )
