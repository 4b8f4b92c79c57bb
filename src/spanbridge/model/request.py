# SPDX-License-Identifier: Apache-2.0
"""
One CNI call: environment and standard input.

Source: CNI specification 1.1.0, section 2 "Execution Protocol", "Parameters".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spanbridge.base.errors import CallError
from spanbridge.base.names import ContainerId, IfName, ifname_fault, is_identifier

VERBS: Final = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
_NEEDS_ATTACHMENT: Final = {"ADD", "DEL", "CHECK"}
_NEEDS_NETNS: Final = {"ADD", "CHECK"}


@dataclass(frozen=True, slots=True)
class Request:
    """
    One CNI call.

    Attributes:
        verb: One of ``VERBS``.
        container_id: CNI_CONTAINERID; empty for GC, STATUS, VERSION.
        netns: CNI_NETNS, a path; may be empty for DEL.
        ifname: CNI_IFNAME; empty for GC, STATUS, VERSION.
        args: CNI_ARGS as it came, see ``parse_args``.
        path: CNI_PATH, split; directories searched for delegated plugins.
        allow_same_netns: CNI_NETNS_OVERRIDE, not in the specification.
        stdin: The exact bytes, for delegated plugins.
        environ: The caller's environment, for delegated plugins.
    """

    verb: str
    container_id: ContainerId
    netns: str
    ifname: IfName
    args: str
    path: tuple[str, ...]
    allow_same_netns: bool
    stdin: bytes
    environ: Mapping[str, str]


def _require(environ: Mapping[str, str], names: list[str], verb: str) -> None:
    missing = [name for name in names if not environ.get(name)]
    if missing:
        raise CallError(
            f"cannot run {verb}: {', '.join(missing)} missing or empty",
            hint="the container runtime sets these environment variables",
        )


def parse_request(environ: Mapping[str, str], stdin: bytes = b"") -> Request:
    """
    Read the CNI variables.

    Raises:
        CallError: A variable is missing or malformed; all missing ones are named.
    """
    verb = environ.get("CNI_COMMAND", "")
    if verb not in VERBS:
        raise CallError(
            f"cannot run CNI_COMMAND {verb!r}: no such verb", hint=f"one of {', '.join(VERBS)}"
        )
    wanted = ["CNI_CONTAINERID", "CNI_IFNAME"] if verb in _NEEDS_ATTACHMENT else []
    wanted += ["CNI_NETNS"] if verb in _NEEDS_NETNS else []
    _require(environ, wanted, verb)
    container_id = environ.get("CNI_CONTAINERID", "")
    ifname = environ.get("CNI_IFNAME", "")
    if verb in _NEEDS_ATTACHMENT:
        _check_attachment(container_id, ifname)
    return Request(
        verb=verb,
        container_id=ContainerId(container_id),
        netns=environ.get("CNI_NETNS", ""),
        ifname=IfName(ifname),
        args=environ.get("CNI_ARGS", ""),
        path=tuple(part for part in environ.get("CNI_PATH", "").split(":") if part),
        allow_same_netns=environ.get("CNI_NETNS_OVERRIDE", "").lower() in {"1", "true"},
        stdin=stdin,
        environ=environ,
    )


def _check_attachment(container_id: str, ifname: str) -> None:
    if not is_identifier(container_id):
        raise CallError(
            f"cannot use CNI_CONTAINERID {container_id!r}: it holds forbidden characters",
            hint="start with a letter or digit; go on with letters, digits, '_', '.', '-'",
        )
    fault = ifname_fault(ifname)
    if fault:
        raise CallError(
            f"cannot use CNI_IFNAME {ifname!r}: {fault}", hint="for example eth0 or migration0"
        )


def parse_args(text: str, known: frozenset[str]) -> dict[str, str]:
    """
    Read CNI_ARGS: ``KEY=value`` pairs joined by semicolons, keys case-sensitive.

    Args:
        text: The variable's value; empty pairs (a trailing semicolon) are skipped.
        known: Keys that are read; any other is an error unless IgnoreUnknown is set.

    Raises:
        CallError: A pair without ``=``, an unknown key, or a bad IgnoreUnknown.
    """
    pairs: dict[str, str] = {}
    for piece in filter(None, text.split(";")):
        key, separator, value = piece.partition("=")
        if not separator or not key:
            raise CallError(
                f"cannot use CNI_ARGS: {piece!r} is not KEY=value", hint="join pairs by semicolons"
            )
        pairs[key] = value
    ignore = pairs.pop("IgnoreUnknown", "0").lower()
    if ignore not in {"0", "1", "true", "false"}:
        raise CallError(f"cannot use CNI_ARGS: IgnoreUnknown is {ignore!r}", hint="write 1 or 0")
    strangers = sorted(set(pairs) - known)
    if strangers and ignore in {"0", "false"}:
        raise CallError(
            f"cannot use CNI_ARGS: unknown {', '.join(strangers)}",
            hint=f"known are {', '.join(sorted(known))}; or add IgnoreUnknown=1",
        )
    return {key: value for key, value in pairs.items() if key in known}


def lenient_args(text: str) -> dict[str, str]:
    """Read CNI_ARGS without complaint, for DEL, which must not fail on them."""
    pairs = (piece.partition("=") for piece in text.split(";"))
    return {key: value for key, separator, value in pairs if separator}
