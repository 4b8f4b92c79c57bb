# SPDX-License-Identifier: Apache-2.0
"""What the verbs do so that a gateway's address stays on its node."""

from typing import TYPE_CHECKING

from spanbridge import bridge
from spanbridge.base.errors import MismatchError
from spanbridge.base.names import IfName
from spanbridge.bridge import Site
from spanbridge.model.desired import DesiredAttachment
from spanbridge.rtnl import Link

if TYPE_CHECKING:
    from spanbridge.firewall import Entries, GatewayPin


def gateway_pin(site: Site, want: DesiredAttachment, port: Link) -> "GatewayPin | None":
    """Turn the gateway into what the firewall shall keep; None where it shall nothing."""
    gateway = want.gateway
    if gateway is None or not gateway.stays_on_node:
        return None
    from spanbridge.firewall import GatewayPin

    return GatewayPin(
        port=IfName(port.name),
        gateway_port=bridge.gateway_port(site, gateway),
        addresses=want.kept_gateways,
    )


def open_gateway(site: Site, want: DesiredAttachment) -> None:
    """Let the gateway be seen on the whole network, where that is asked for."""
    gateway = want.gateway
    if gateway is None or gateway.stays_on_node:
        return
    from spanbridge import firewall

    firewall.unpin(site.host, tuple(address.ip for address in gateway.addresses))


def check_gateway_pin(site: Site, want: DesiredAttachment, port: Link, seen: "Entries") -> None:
    """
    Compare with what the firewall has.

    Raises:
        MismatchError: A gateway address is not kept on the node.
    """
    if not port.alias.startswith(want.owner.tag):
        return  # attached by the reference plugin, which promises nothing of the kind
    pin = gateway_pin(site, want, port)
    for ip in pin.addresses if pin else ():
        missing = [each for each in pin.ports if (each, ip) not in seen.pins] if pin else []
        if missing:
            raise MismatchError(
                f"cannot confirm that gateway {ip} stays on this node: the entry of"
                f" {missing[0]} is missing",
                hint="delete the pod so that it is attached anew",
            )


def probe_gateway(site: Site, want: DesiredAttachment) -> None:
    """Warn when an ADD could not keep the gateway on the node; it would succeed all the same."""
    if want.gateway is not None and want.gateway.stays_on_node:
        from spanbridge import firewall

        firewall.probe_gateways(site.host)
