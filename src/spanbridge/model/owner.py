# SPDX-License-Identifier: Apache-2.0
"""Whom a kernel object belongs to: the tag on links and firewall entries."""

import functools
import hashlib
from dataclasses import dataclass
from typing import Final

from spanbridge.base.names import ContainerId, IfName, NetworkName

PREFIX: Final = "sb1:"
"""Every tag of ours starts so; the digit is the version of the tag's form."""

ALIAS_MAX_BYTES: Final = 255
"""Longest interface alias. Source: linux/if.h, IFALIASZ (256 with the final NUL)."""


@functools.lru_cache(maxsize=256)
def _digest(*parts: str) -> str:
    # NUL occurs in no part, so no two lists of parts run together.
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def network_tag(network: str) -> str:
    """Return the part of a tag that all attachments of one network share."""
    return f"{PREFIX}{_digest(network)}:"


@dataclass(frozen=True, slots=True)
class Owner:
    """One attachment: an interface of a container on a network."""

    network: NetworkName
    container_id: ContainerId
    ifname: IfName

    @classmethod
    def of(cls, network: str, container_id: str, ifname: str) -> "Owner":
        """Make an owner from plain text that was checked elsewhere."""
        return cls(NetworkName(network), ContainerId(container_id), IfName(ifname))

    @property
    def tag(self) -> str:
        """Tag of 37 ASCII characters, the same on every node and in every version."""
        return network_tag(self.network) + _digest(self.container_id, self.ifname)

    def alias(self, state: str) -> str:
        """Text for the host port's alias: the tag, a state and what a human wants to read."""
        text = f"{self.tag} {state} {self.network} {self.container_id} {self.ifname}"
        return text.encode()[:ALIAS_MAX_BYTES].decode(errors="ignore")

    def port_name(self, attempt: int = 0) -> IfName:
        """
        Name of the host port; the same for every call, so DEL needs no sandbox.

        Args:
            attempt: 0, 1, …: the next candidate when a stranger holds the name.
        """
        return IfName(
            "veth" + _digest(self.network, self.container_id, self.ifname, str(attempt))[:8]
        )
