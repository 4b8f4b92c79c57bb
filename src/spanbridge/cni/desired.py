# SPDX-License-Identifier: Apache-2.0
"""From a configuration and an IPAM result to the desired state; pure."""

from dataclasses import replace
from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.base.names import IfName, MacAddress, VlanId
from spanbridge.model.addresses import Cidr, Ip, ip_from_text
from spanbridge.model.desired import (
    BridgeState,
    DesiredAttachment,
    GatewayState,
    Masquerade,
    PortState,
    SandboxState,
)
from spanbridge.model.netconf import (
    MTU_MIN_IPV6,
    SCOPE_NODE,
    NetConf,
    VlanRange,
    merge_ranges,
)
from spanbridge.model.owner import Owner
from spanbridge.model.result import CniResult, IpConfig, RouteConfig
from spanbridge.model.uplink import UplinkState

NATIVE_VLAN: Final = VlanId(1)
"""PVID of a trunk without ``vlan``, as in the reference plugin."""

CONTAINER_INDEX: Final = 2
"""Place of the sandbox link in ``interfaces``: bridge, host port, sandbox link."""

MAIN_TABLE: Final = 254
"""Source: linux/rtnetlink.h, RT_TABLE_MAIN."""

SCOPE_LINK: Final = 253
"""Source: linux/rtnetlink.h, RT_SCOPE_LINK."""

_DEFAULT: Final = {4: Cidr(Ip(4, 0), 0), 6: Cidr(Ip(6, 0), 0)}


def _must(ip: Ip | None) -> Ip:
    if ip is None:
        raise AssertionError("parse_result and the IPAM parsers admit only addresses")
    return ip


def first_gateway(address: Cidr) -> Ip:
    """
    Return the gateway that ``isGateway`` assumes: the network's first address.

    Raises:
        ConfigError: There is no such address, or it is the sandbox's own.
    """
    hint = 'name a "gateway" in the ipam section, or remove "isGateway"'
    if address.prefix_length >= address.ip.bits:
        raise ConfigError(
            f"cannot choose a gateway for {address}: its network has one address only",
            pointer="/ipam",
            hint=hint,
        )
    gateway = address.network.ip + 1
    if gateway == address.ip:
        raise ConfigError(
            f"cannot choose a gateway for {address}: the network's first address is taken"
            " by the sandbox itself",
            pointer="/ipam",
            hint=hint,
        )
    return gateway


def _with_gateway(conf: NetConf, ip: IpConfig) -> IpConfig:
    gateway = ip.gateway
    if conf.is_gateway and not gateway:
        gateway = str(first_gateway(ip.address))
    return IpConfig(ip.address, gateway, CONTAINER_INDEX)


def _default_routes(result: CniResult) -> tuple[RouteConfig, ...]:
    """Make the missing default routes; one that IPAM gave counts even without next hop."""
    routes = []
    for version, default in _DEFAULT.items():
        gateways = [ip.gateway for ip in result.ips if ip.address.version == version and ip.gateway]
        given = any(
            route.dst == default and route.table in {None, MAIN_TABLE} for route in result.routes
        )
        if gateways and not given:
            routes.append(RouteConfig(dst=default, gw=gateways[0]))
    return tuple(routes)


def complete(conf: NetConf, ipam: CniResult) -> CniResult:
    """
    Fill in what the configuration adds to an IPAM result.

    Gateways by ``isGateway``, default routes by ``isDefaultGateway``, ``dns`` of the
    configuration; every address is put on the sandbox link.

    Raises:
        ConfigError: No gateway can be chosen for an address.
    """
    ips = tuple(_with_gateway(conf, ip) for ip in ipam.ips)
    result = CniResult(ips=ips, routes=ipam.routes, dns=conf.dns or ipam.dns)
    if conf.is_default_gateway:
        result = replace(result, routes=result.routes + _default_routes(result))
    return result


def _port(conf: NetConf) -> PortState:
    trunk = conf.trunk or ()
    pvid = VlanId(conf.vlan) if conf.vlan else (NATIVE_VLAN if trunk else None)
    return PortState(
        pvid=pvid,
        tagged=_without(trunk, pvid),
        keep_default_vlan=conf.preserve_default_vlan or pvid is None,
        hairpin=conf.hairpin_mode,
        isolated=conf.port_isolation,
    )


def _without(trunk: tuple[VlanRange, ...], pvid: VlanId | None) -> tuple[VlanRange, ...]:
    """Cut the native VLAN out of a trunk: one VLAN cannot be both native and tagged."""
    kept: list[VlanRange] = []
    for each in trunk:
        if pvid is None or pvid not in each:
            kept.append(each)
            continue
        if each.first < pvid:
            kept.append(VlanRange(each.first, VlanId(pvid - 1)))
        if pvid < each.last:
            kept.append(VlanRange(VlanId(pvid + 1), each.last))
    return tuple(kept)


def _uplink(conf: NetConf, port: PortState) -> UplinkState | None:
    """Say what the uplink must carry: every VLAN that the host port carries."""
    if conf.uplink is None:
        return None
    native = [] if port.pvid is None else [VlanRange(port.pvid, port.pvid)]
    return UplinkState(
        device=conf.uplink,
        vlans=merge_ranges([*native, *port.tagged]),
        keep_default_vlan=port.keep_default_vlan,
        mtu=conf.mtu,
    )


def _next_hop(route: RouteConfig, ips: tuple[IpConfig, ...]) -> RouteConfig:
    if route.gw or route.scope == SCOPE_LINK:
        return route
    version = route.dst.version
    gateways = [ip.gateway for ip in ips if ip.address.version == version and ip.gateway]
    return replace(route, gw=gateways[0]) if gateways else route


def _sandbox(
    conf: NetConf, ifname: IfName, mac: MacAddress | None, result: CniResult
) -> SandboxState:
    addresses = tuple(ip.address for ip in result.ips)
    if 0 < conf.mtu < MTU_MIN_IPV6 and any(address.version == 6 for address in addresses):
        raise conf.root.fault(
            "mtu",
            f"{conf.mtu} is too small for IPv6",
            f"write 0 for the default, or at least {MTU_MIN_IPV6}",
        )
    return SandboxState(
        ifname=ifname,
        mac=mac,
        mtu=conf.mtu,
        up=not conf.disable_container_interface,
        duplicate_detection=conf.enable_dad,
        layer3=conf.ipam is not None,
        addresses=addresses,
        routes=tuple(_next_hop(route, result.ips) for route in result.routes),
    )


def leased_state(ifname: IfName, result: CniResult) -> SandboxState:
    """Describe what an IPAM result means for an interface that another plugin made."""
    return SandboxState(
        ifname=ifname,
        mac=None,
        mtu=0,
        up=True,
        duplicate_detection=False,
        layer3=True,
        addresses=tuple(ip.address for ip in result.ips),
        routes=tuple(_next_hop(route, result.ips) for route in result.routes),
    )


def _gateway(conf: NetConf, result: CniResult) -> GatewayState | None:
    if not conf.is_gateway or conf.ipam is None:
        return None
    addresses = [
        Cidr(_must(ip_from_text(ip.gateway)), ip.address.prefix_length)
        for ip in result.ips
        if ip.gateway
    ]
    on_vlan = conf.vlan != 0
    return GatewayState(
        device=IfName(f"{conf.bridge}.{conf.vlan}") if on_vlan else conf.bridge,
        vlan=conf.vlan,
        port=PortState(
            pvid=VlanId(conf.vlan),
            tagged=(),
            keep_default_vlan=conf.preserve_default_vlan,
            hairpin=False,
            isolated=False,
        )
        if on_vlan
        else None,
        addresses=tuple(dict.fromkeys(addresses)),
        replace_conflicting=conf.force_address,
        stays_on_node=conf.gateway_scope == SCOPE_NODE,
    )


def desired(
    conf: NetConf, owner: Owner, *, mac: MacAddress | None, result: CniResult
) -> DesiredAttachment:
    """
    Describe everything that one attachment promises.

    Args:
        conf: The network configuration.
        owner: Whose attachment it is.
        mac: The MAC asked for; None leaves the choice to us.
        result: What ``complete`` returned; empty for a layer 2 network, and before
            IPAM was asked, when only the bridge and the port matter.

    Raises:
        ConfigError: The addresses do not go with the configuration.
    """
    port = _port(conf)
    return DesiredAttachment(
        owner=owner,
        bridge=BridgeState(
            name=conf.bridge,
            mtu=conf.mtu,
            vlan_filtering=conf.uses_vlans,
            promisc=conf.promisc_mode,
            linklocal_deaf=conf.mac_spoof_check,
        ),
        uplink=_uplink(conf, port),
        port=port,
        sandbox=_sandbox(conf, owner.ifname, mac, result),
        gateway=_gateway(conf, result),
        masquerade=_masquerade(conf, result),
        spoof_check=conf.mac_spoof_check,
    )


def readdressed(want: DesiredAttachment, conf: NetConf, result: CniResult) -> DesiredAttachment:
    """
    Describe the attachment with the addresses of another result.

    Raises:
        ConfigError: The addresses do not go with the configuration.
    """
    return DesiredAttachment(
        owner=want.owner,
        bridge=want.bridge,
        uplink=want.uplink,
        port=want.port,
        sandbox=_sandbox(conf, want.owner.ifname, want.sandbox.mac, result),
        gateway=_gateway(conf, result),
        masquerade=_masquerade(conf, result),
        spoof_check=want.spoof_check,
    )


def _masquerade(conf: NetConf, result: CniResult) -> tuple[Masquerade, ...]:
    if not conf.ip_masq:
        return ()
    return tuple(Masquerade(ip.address.ip, ip.address.network) for ip in result.ips)
