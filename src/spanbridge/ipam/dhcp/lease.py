# SPDX-License-Identifier: Apache-2.0
"""One lease: all that is needed to go on with it after a restart; as JSON; as CNI result. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from spanbridge.base.names import MacAddress
from spanbridge.ipam.dhcp.conf import DhcpConf
from spanbridge.ipam.dhcp.options import Granted
from spanbridge.model.owner import Owner
from spanbridge.model.result import CniResult


@dataclass(frozen=True, slots=True)
class Lease:
    """
    One lease. Times are wall clock, Unix seconds; None is never.

    Attributes:
        owner: Whose it is.
        netns_path: Path of the sandbox.
        netns_identity: Device and inode of the sandbox.
        boot_id: Of the kernel under which it was acquired.
        mac: Of the sandbox link.
        client_id: Option 61.
        granted: From the last ACK.
        acquired: When the REQUEST of the first ACK was sent.
        renewed: When the REQUEST of the last ACK was sent.
        t1: When to renew.
        t2: When to rebind.
        expiry: When the address must no longer be used.
        state: Name of the client's state.
        section: The ``ipam`` section as it was given, to be parsed again.
        args: CNI_ARGS.
        server_mac: Ethernet address from which the last ACK came; empty if unknown.
    """

    owner: Owner
    netns_path: str
    netns_identity: tuple[int, int]
    boot_id: str
    mac: MacAddress
    client_id: bytes
    granted: Granted
    acquired: float
    renewed: float
    t1: float | None
    t2: float | None
    expiry: float | None
    state: str
    section: Mapping[str, object]
    args: str = ""
    server_mac: str = ""


def render_lease(lease: Lease) -> dict[str, object]:
    """Make the JSON object."""
    raise NotImplementedError(lease)


def parse_lease(raw: object) -> Lease:
    """
    Read the JSON object back.

    Raises:
        DecodeError: Anything missing or malformed; no other exception, whatever the value.
    """
    raise NotImplementedError(raw)


def lease_result(lease: Lease, conf: DhcpConf) -> CniResult:
    """Make what ADD answers."""
    raise NotImplementedError(lease, conf)
