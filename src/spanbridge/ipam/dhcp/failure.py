# SPDX-License-Identifier: Apache-2.0
"""Why no address could be had: what was heard on the link, in words."""

from spanbridge.base.errors import AddressError
from spanbridge.ipam.dhcp.client import Heard
from spanbridge.model.owner import Owner

_NOBODY = "see that a DHCP server is reachable on this network: bridge, uplink, VLAN, firewall"


def no_address(owner: Owner, heard: Heard, *, within: str) -> AddressError:
    """
    Make the error for a search that has ended without an address.

    Args:
        owner: For whom it was.
        heard: What came of it.
        within: When it ended: ``within 20 s``, ``before the caller gave up``.
    """
    cause, hint = _cause(heard, within)
    if heard.malformed:
        cause += f"; {heard.malformed} malformed frames were passed over"
    return AddressError(
        f"cannot lease an address for {owner.ifname} of {owner.container_id}: {cause}", hint=hint
    )


def _cause(heard: Heard, within: str) -> tuple[str, str]:
    if heard.duplicate is not None:
        address, mac = heard.duplicate
        return (
            f"{address}, which the server gave, is in use by {mac}",
            "find that host, or exclude its address from the server's pool",
        )
    if heard.refused is not None:
        server, text = heard.refused
        said = f": {text!r}" if text else ""
        return f"server {server or 'unknown'} refused it (NAK){said}", "see the server's log"
    if heard.offered is not None:
        address, server = heard.offered
        return (
            f"server {server} offered {address} but did not acknowledge it {within}",
            "see the server's log",
        )
    if heard.unsent:
        return f"the interface sends nothing, and no offer came {within}", _NOBODY
    return f"no DHCP server made an offer {within}", _NOBODY
