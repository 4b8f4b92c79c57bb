# SPDX-License-Identifier: Apache-2.0
"""
The versions of the CNI specification that are spoken, and what each allows.

Source: CNI specification 1.1.0, sections "Version considerations" and 2; versions
below 0.3.1 are refused as the product's documentation demands.
"""

from typing import Final

from spanbridge.base.errors import DecodeError, VersionError
from spanbridge.model.reader import Node, json_name

SUPPORTED: Final = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST: Final = SUPPORTED[-1]

_FIRST_WITH: Final = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}


def parse_version(root: Node, pointer_key: str = "cniVersion") -> str:
    """
    Read and check ``cniVersion``.

    Raises:
        DecodeError: Not a string.
        VersionError: Absent (which means 0.1.0) or not spoken.
    """
    value = root.take(pointer_key)
    if value is not None and not isinstance(value, str):
        raise DecodeError(
            f"cannot decode 'cniVersion': it is {json_name(value)}",
            pointer=root.at(pointer_key),
            hint=f'write a string, for example "{NEWEST}"',
        )
    if value in SUPPORTED:
        return value
    cause = f"version {value} is not spoken" if value else "it is missing, which means 0.1.0"
    raise VersionError(
        f"cannot use 'cniVersion': {cause}",
        pointer=root.at(pointer_key),
        hint=f"write one of {', '.join(SUPPORTED)}",
    )


def require_verb(version: str, verb: str) -> None:
    """Raise ``VersionError`` when ``version`` does not know ``verb`` yet."""
    first = _FIRST_WITH.get(verb)
    if first is not None and SUPPORTED.index(version) < SUPPORTED.index(first):
        raise VersionError(
            f"cannot run {verb}: cniVersion {version} does not allow it",
            pointer="/cniVersion",
            hint=f"write {first} or newer",
        )


def has_ip_version(version: str) -> bool:
    """Tell whether ``ips[]`` carries "version" and ``dns`` is always present (before 1.0.0)."""
    return version in {"0.3.1", "0.4.0"}
