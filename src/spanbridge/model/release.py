# SPDX-License-Identifier: Apache-2.0
"""What DEL and GC need of a configuration, read without being choosy."""

import functools
from dataclasses import dataclass

from spanbridge.base.errors import ConfigError
from spanbridge.base.names import NetworkName
from spanbridge.model.netconf import SCOPE_NETWORK, IpamConf, is_program_name, parse_name
from spanbridge.model.reader import Node
from spanbridge.model.version import parse_version


@dataclass(frozen=True, slots=True)
class ReleaseConf:
    """
    The part of a configuration by which things are found again.

    Attributes:
        cni_version: For delegated plugins.
        name: Network name: part of every owner's tag.
        ipam: Whose addresses are to be released; None for layer 2.
        uses_firewall: ``ipMasq`` or ``macspoofchk`` is set, or a gateway stays on its node.
        root: The whole document.
    """

    cni_version: str
    name: NetworkName
    ipam: IpamConf | None
    uses_firewall: bool
    root: Node


@functools.lru_cache(maxsize=64)
def parse_release_conf(root: Node) -> ReleaseConf:
    """
    Read what is needed to clean up.

    A configuration that was broken after ADD must not keep addresses and rules alive,
    so faults in any other field are passed over.

    Once for each root; a node's pods share one.

    Raises:
        VersionError, DecodeError, ConfigError: Version or name cannot be used.
    """
    ipam = _lenient_ipam(root)
    keys = ["ipMasq", "macspoofchk"]
    if ipam is not None and root.take("gatewayScope") != SCOPE_NETWORK:
        keys += ["isGateway", "isDefaultGateway"]
    return ReleaseConf(
        cni_version=parse_version(root),
        name=parse_name(root),
        ipam=ipam,
        uses_firewall=any(root.take(key) is True for key in keys),
        root=root,
    )


def _lenient_ipam(root: Node) -> IpamConf | None:
    try:
        node = root.node("ipam")
        kind = node.text("type") if node is not None else ""
    except ConfigError:
        return None
    return IpamConf(kind, node) if node is not None and is_program_name(kind) else None
