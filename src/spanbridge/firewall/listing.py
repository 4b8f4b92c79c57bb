# SPDX-License-Identifier: Apache-2.0
"""What ``list table`` answers, read into ``Found``; pure."""

from collections.abc import Iterator

from spanbridge.base.names import IfName, MacAddress
from spanbridge.firewall import gateways
from spanbridge.firewall.entries import Found, Source, SpoofGuard
from spanbridge.firewall.ruleset import Json, tag_of
from spanbridge.model.addresses import ip_from_text


def parse_listing(objects: list[dict[str, Json]]) -> Found:
    """
    Read the objects of our tables; what is not of our making is left out.

    Args:
        objects: The list under ``nftables`` in libnftables' answers.
    """
    found = Found()
    for each in objects:
        for kind, fields in each.items():
            if kind == "chain":
                found.rules.setdefault((fields["family"], fields["name"]), ())
            elif kind == "rule":
                key = (fields["family"], fields["chain"])
                found.rules[key] = (*found.rules.get(key, ()), fields.get("comment", ""))
                found.handles[key] = (*found.handles.get(key, ()), fields["handle"])
            elif kind in {"map", "set"}:
                _read_elements(fields["name"], fields.get("elem", []), found)
    return found


def _read_elements(name: str, elements: list[Json], found: Found) -> None:
    if name in {"sources4", "sources6"}:
        for key, verdict in elements:
            value, tag = _value_and_tag(key)
            ip = ip_from_text(value)
            target = verdict.get("goto", {}).get("target")
            if ip is not None and target is not None:
                found.sources[ip] = Source(chain=target, tag=tag)
    elif name == "guarded":
        found.ports.update((IfName(port), tag) for port, tag in map(_value_and_tag, elements))
    elif name == "bindings":
        found.bindings.update(_bindings(elements))
    elif (gateway := gateways.address_of(name)) is not None:
        found.gateways[gateway] = gateways.parse_gateway(list(map(_value_and_comment, elements)))


def _bindings(elements: list[Json]) -> Iterator[tuple[SpoofGuard, str]]:
    for value, tag in map(_value_and_tag, elements):
        port, mac = value["concat"]
        yield SpoofGuard(IfName(port), MacAddress(mac)), tag


def _value_and_comment(element: Json) -> tuple[Json, str]:
    """Take an element apart; one without a comment stands there as its bare value."""
    if isinstance(element, dict) and "elem" in element:
        return element["elem"]["val"], element["elem"].get("comment", "")
    return element, ""


def _value_and_tag(element: Json) -> tuple[Json, str]:
    value, comment = _value_and_comment(element)
    return value, tag_of(comment)
