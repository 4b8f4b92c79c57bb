# SPDX-License-Identifier: Apache-2.0
"""
Identifiers that must not be mixed up, and the rules they obey.

Source: CNI specification 1.1.0, section 2 (parameters); linux/if.h (IFNAMSIZ).
"""

import functools
import re
from typing import Final, NewType

IfIndex = NewType("IfIndex", int)
"""Interface index, unique within one network namespace; 0 means none."""

IfName = NewType("IfName", str)
"""Interface name as the kernel knows it, at most 15 bytes."""

VlanId = NewType("VlanId", int)
"""802.1Q VLAN id, 1 to 4094."""

ContainerId = NewType("ContainerId", str)
"""CNI_CONTAINERID."""

NetworkName = NewType("NetworkName", str)
"""The ``name`` of a CNI network configuration."""

MacAddress = NewType("MacAddress", str)
"""Ethernet address, six lower-case hex octets joined by colons."""

IFNAME_MAX_BYTES: Final = 15
VLAN_MAX: Final = 4094

_IDENTIFIER: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")


def is_identifier(text: str) -> bool:
    """Tell whether ``text`` may serve as a container id or a network name."""
    return _IDENTIFIER.fullmatch(text) is not None


@functools.lru_cache(maxsize=64)
def ifname_fault(text: str) -> str | None:
    """Say why the kernel would refuse ``text`` as an interface name, or None."""
    if not text:
        return "it is empty"
    # Before the length is taken: half a surrogate pair has no bytes.
    if any(char in "/:" or char.isspace() or not char.isprintable() for char in text):
        return "it holds a slash, a colon, white space or a control character"
    if "%" in text:
        return "it holds a %, by which the kernel numbers names"
    if len(text.encode()) > IFNAME_MAX_BYTES:
        return f"it has more than {IFNAME_MAX_BYTES} bytes"
    if text in {".", ".."}:
        return "the kernel reserves this name"
    return None
