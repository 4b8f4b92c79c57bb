# SPDX-License-Identifier: Apache-2.0
"""
The desired state of one attachment: the only description of it that there is.

ADD ensures it, CHECK compares it with what is observed, ``explain`` prints it; DEL
and GC release what its owner holds.
"""

from dataclasses import dataclass

from spanbridge.base.names import IfName, MacAddress, VlanId
from spanbridge.model.addresses import Cidr, Ip
from spanbridge.model.netconf import VlanRange
from spanbridge.model.owner import Owner
from spanbridge.model.result import RouteConfig
from spanbridge.model.uplink import UplinkState


@dataclass(frozen=True, slots=True)
class BridgeState:
    """
    The bridge itself; what it says applies to a bridge that we create.

    Attributes:
        name: Its name.
        mtu: Bytes; 0 leaves the default.
        vlan_filtering: It must filter VLANs; a bridge found without is refused.
        promisc: Switch promiscuity on; False leaves it as it is.
        linklocal_deaf: Learn no MAC from frames to link-local groups, which pass the source
            check by; False leaves it as it is.
    """

    name: IfName
    mtu: int
    vlan_filtering: bool
    promisc: bool
    linklocal_deaf: bool


@dataclass(frozen=True, slots=True)
class PortState:
    """
    A bridge port: the host end of the sandbox link, or of the VLAN's gateway.

    Attributes:
        pvid: VLAN of untagged frames, sent untagged; None leaves the bridge's default.
        tagged: Tagged VLANs, ascending, without ``pvid``.
        keep_default_vlan: Leave what the bridge gave to the new port.
        hairpin: Frames may leave by the port they came from.
        isolated: No frames to or from other isolated ports.
    """

    pvid: VlanId | None
    tagged: tuple[VlanRange, ...]
    keep_default_vlan: bool
    hairpin: bool
    isolated: bool


@dataclass(frozen=True, slots=True)
class SandboxState:
    """
    The interface in the sandbox.

    Attributes:
        ifname: CNI_IFNAME.
        mac: Requested MAC; None lets us choose a random one.
        mtu: Bytes; 0 leaves the default.
        up: False only with ``disableContainerInterface``.
        duplicate_detection: IPv6 DAD before ADD returns.
        layer3: Addresses are managed (there is IPAM).
        addresses: With their prefix lengths, in the order of the IPAM result.
        routes: Every next hop filled in; an empty ``gw`` is a route on the link.
    """

    ifname: IfName
    mac: MacAddress | None
    mtu: int
    up: bool
    duplicate_detection: bool
    layer3: bool
    addresses: tuple[Cidr, ...]
    routes: tuple[RouteConfig, ...]


@dataclass(frozen=True, slots=True)
class GatewayState:
    """
    The addresses by which this node routes for the network.

    Attributes:
        device: The bridge, or the VLAN's own interface ``<bridge>.<vlan>``.
        vlan: The VLAN of that interface; 0 when ``device`` is the bridge.
        port: The bridge port of the VLAN's interface; None when ``device`` is the bridge.
        addresses: Gateway addresses with the sandbox's prefix lengths, no duplicates.
        replace_conflicting: ``forceAddress``.
        stays_on_node: ARP and neighbour discovery for the addresses pass between the node
            and the attachments' ports only (``gatewayScope``).
    """

    device: IfName
    vlan: int
    port: PortState | None
    addresses: tuple[Cidr, ...]
    replace_conflicting: bool
    stays_on_node: bool

    @property
    def families(self) -> tuple[int, ...]:
        """IP versions to forward: 4, 6 or both."""
        return tuple(sorted({address.version for address in self.addresses}))


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Traffic from ``source`` to anywhere but ``network`` and multicast leaves masqueraded."""

    source: Ip
    network: Cidr


@dataclass(frozen=True, slots=True)
class DesiredAttachment:
    """
    Everything that one attachment promises.

    Attributes:
        owner: Whose it is.
        bridge: See there.
        uplink: None when the configuration names no uplink.
        port: The host end of the sandbox link.
        sandbox: See there.
        gateway: None when this node does not route for the network.
        masquerade: One entry per address; empty without ``ipMasq``.
        spoof_check: Drop frames with a foreign source MAC.
    """

    owner: Owner
    bridge: BridgeState
    uplink: UplinkState | None
    port: PortState
    sandbox: SandboxState
    gateway: GatewayState | None
    masquerade: tuple[Masquerade, ...]
    spoof_check: bool

    @property
    def uses_firewall(self) -> bool:
        """Whether it has entries in the firewall."""
        return bool(self.masquerade) or self.spoof_check or bool(self.kept_gateways)

    @property
    def kept_gateways(self) -> tuple[Ip, ...]:
        """Gateway addresses that the firewall keeps on the node."""
        if self.gateway is None or not self.gateway.stays_on_node:
            return ()
        return tuple(dict.fromkeys(address.ip for address in self.gateway.addresses))
