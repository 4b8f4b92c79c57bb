# SPDX-License-Identifier: Apache-2.0
"""
The verbs of the bridge plugin.

Each takes a ``Call`` and works in the caller's network namespace. The same code
serves the one-shot program and the agent.

Source: CNI specification 1.1.0, section 2 "CNI operations".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from spanbridge import bridge
from spanbridge.base import log
from spanbridge.base.errors import (
    Code,
    ConfigError,
    MismatchError,
    NodeError,
    NotReadyError,
    ReleaseError,
    RetryError,
    SpanbridgeError,
)
from spanbridge.base.names import IfName, MacAddress
from spanbridge.base.undo import Undo
from spanbridge.bridge import Attached, Site
from spanbridge.cni.desired import CONTAINER_INDEX, complete, desired, readdressed
from spanbridge.cni.gateway_pin import (
    check_gateway_pin,
    gateway_pin,
    open_gateway,
    probe_gateway,
)
from spanbridge.cni.surroundings import Sandbox, Surroundings
from spanbridge.ipam import (
    CNI_ARGS_KEYS,
    Ipam,
    IpamCall,
    IpamPlace,
    Releaser,
    open_for_release,
    open_ipam,
)
from spanbridge.model.desired import DesiredAttachment
from spanbridge.model.netconf import (
    NetConf,
    parse_netconf,
    parse_valid_attachments,
    requested_mac,
)
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node
from spanbridge.model.release import ReleaseConf, parse_release_conf
from spanbridge.model.request import Request, parse_args
from spanbridge.model.result import CniResult, Interface, IpConfig, merge_results
from spanbridge.model.uplink import UplinkState
from spanbridge.model.version import require_verb
from spanbridge.rtnl import Link, NetNs

KNOWN_ARGS: Final = frozenset({"MAC"}) | CNI_ARGS_KEYS
"""Keys of CNI_ARGS that the bridge or a built-in IPAM reads."""


@dataclass(frozen=True, slots=True)
class Call:
    """
    One call and the surroundings it works in.

    Attributes:
        request: Environment and standard input.
        root: The decoded configuration.
        around: Namespaces, directories, and what the agent brings along.
        sandbox: The container's network namespace.
    """

    request: Request
    root: Node
    around: Surroundings
    sandbox: Sandbox

    @property
    def host(self) -> NetNs:
        """The caller's network namespace."""
        return self.around.host

    @property
    def place(self) -> IpamPlace:
        """What address management may see of it."""
        around = self.around
        return IpamPlace(around.host, self.sandbox, around.keeper, around.cancelled)

    def refuse_cancelled(self) -> None:
        """Raise ``RetryError`` once the caller has given up: nobody would read the answer."""
        if self.around.cancelled():
            raise RetryError("cannot finish: the caller has given up")

    def owner(self, conf: NetConf | ReleaseConf) -> Owner:
        """Name the attachment that this call is about."""
        return Owner(conf.name, self.request.container_id, self.request.ifname)


def _warn_unknown(conf: NetConf) -> None:
    for key in conf.unknown:
        near = {"nearest": key.nearest} if key.nearest else {}
        log.warn("unknown key is ignored", pointer=key.pointer, network=conf.name, **near)


def _ipam_call(call: Call, conf: NetConf | ReleaseConf) -> IpamCall | None:
    if conf.ipam is None:
        return None
    return IpamCall(conf.cni_version, conf.name, conf.ipam, conf.root, call.place)


def _open_ipam(call: Call, conf: NetConf) -> Ipam | None:
    ipam = _ipam_call(call, conf)
    return None if ipam is None else open_ipam(call.request, ipam)


def _site(call: Call, sandbox: NetNs | None) -> Site:
    return Site(
        call.host,
        sandbox,
        sandbox_path=call.request.netns,
        run_dir=call.around.run_dir,
        remove_link=call.around.remove_link,
    )


def add(call: Call) -> CniResult:
    """
    Attach a container; on any failure everything is as before.

    Raises:
        SpanbridgeError: What could not be done, and why.
    """
    conf = parse_netconf(call.root)
    args = parse_args(call.request.args, KNOWN_ARGS)
    mac = requested_mac(conf, args)
    ipam = _open_ipam(call, conf)
    _warn_unknown(conf)
    want = desired(conf, call.owner(conf), mac=mac, result=CniResult())
    with _site(call, call.sandbox.open()) as site, Undo() as undo:
        result = _attach(site, conf, want, ipam=ipam, undo=undo)
        call.refuse_cancelled()
    return result if conf.previous is None else merge_results(conf.previous, result)


def _attach(
    site: Site, conf: NetConf, want: DesiredAttachment, *, ipam: Ipam | None, undo: Undo
) -> CniResult:
    asked: list[Ipam] = []
    by_link = ipam is not None and ipam.releases_by_link
    # Pushed first, so it runs last: an address is given back when nobody has it any more.
    undo.push(_release_all, [] if by_link else asked)
    attached = bridge.ensure_link(site, want, undo)
    undo.push(_release_all, asked if by_link else [])
    # Nothing shall pass before the check of MACs is there, unless a server has to be asked.
    if ipam is not None and want.sandbox.up and (ipam.needs_link or not want.spoof_check):
        bridge.raise_sandbox(site, attached)
    if ipam is not None and ipam.needs_link:
        bridge.wait_for_port(site, attached.port)
    result = _with_addresses(conf, ipam, asked)
    want = readdressed(want, conf, result)
    ensure_firewall(site, want, attached, undo)
    device = bridge.ensure_gateway(site, want.gateway, attached, undo)
    bridge.ensure_sandbox(site, want.sandbox, attached)
    if want.sandbox.up:
        bridge.wait_for_port(site, attached.port)
        bridge.announce(site, want.sandbox, attached)
    open_gateway(site, want)
    bridge.mark_ready(site, want, attached)
    interfaces = _interfaces(site, attached, device)
    return CniResult(interfaces, result.ips, result.routes, result.dns)


def _release_all(asked: list[Ipam]) -> None:
    for ipam in asked:
        ipam.release()


def _with_addresses(conf: NetConf, ipam: Ipam | None, asked: list[Ipam]) -> CniResult:
    if ipam is None or conf.ipam is None:
        return complete(conf, CniResult())
    # Also a failed ADD of another plugin may have left something to DEL.
    asked.append(ipam)
    answered = ipam.add()
    if not answered.ips:
        raise NodeError(
            f"cannot use the answer of IPAM plugin {conf.ipam.type!r}: it holds no address",
            code=Code.ADDRESS_UNAVAILABLE,
        )
    return complete(conf, answered)


def ensure_firewall(site: Site, want: DesiredAttachment, attached: Attached, undo: Undo) -> None:
    """Make the firewall's entries of an attachment; what was made is on ``undo``."""
    if not want.uses_firewall:
        return
    from spanbridge import firewall  # libnftables is loaded only where it is used

    guard = None
    if want.spoof_check:
        guard = firewall.SpoofGuard(IfName(attached.port.name), MacAddress(attached.sandbox.mac))
    pin = gateway_pin(site, want, attached.port)
    undo.push(firewall.withdraw, site.host, want.owner)
    firewall.ensure(site.host, want.owner, masquerade=want.masquerade, guard=guard, pin=pin)


def _interfaces(site: Site, attached: Attached, device: Link | None) -> tuple[Interface, ...]:
    inside = attached.sandbox
    node_side = (attached.bridge, attached.port)
    listed = [Interface(link.name, link.mac, mtu=link.mtu) for link in node_side]
    listed.append(Interface(inside.name, inside.mac, site.sandbox_path, mtu=inside.mtu))
    if device is not None:
        listed.append(Interface(device.name, device.mac, mtu=device.mtu))
    return tuple(listed)


def _attempt(step: Callable[[], object], failures: list[Exception]) -> None:
    try:
        step()
    except SpanbridgeError as exc:
        failures.append(exc)
    except OSError as exc:
        failures.append(NodeError(f"cannot release: {exc}", code=Code.IO_FAILURE))


def _raise_failures(what: str, failures: list[Exception]) -> None:
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ReleaseError(f"cannot {what}", failures)


def delete(call: Call) -> None:
    """
    Detach a container: link, then firewall, then addresses, going on after failures.

    The address is given back last, when nobody can use it any more; a DHCP lease first,
    since that takes a frame from the interface.

    Raises:
        SpanbridgeError: The only failure, or a ``ReleaseError`` with all of them.
    """
    conf = parse_release_conf(call.root)
    owner = call.owner(conf)
    failures: list[Exception] = []
    removed: list[Link | None] = [None]
    ipam = _releaser(call, conf, failures)
    by_link = ipam is not None and ipam.releases_by_link
    with _site(call, call.sandbox.open_if_there()) as site:

        def remove_link() -> None:
            removed[0] = bridge.release(site, owner)

        if ipam is not None and by_link:
            _attempt(ipam.release, failures)
        _attempt(remove_link, failures)
        if conf.uses_firewall or bridge.may_have_firewall(removed[0], owner):
            _attempt(lambda: _release_firewall(site, owner, removed[0]), failures)
        if ipam is not None and not by_link:
            _attempt(ipam.release, failures)
    _raise_failures(f"delete all of {owner.ifname}", failures)


def _releaser(call: Call, conf: ReleaseConf, failures: list[Exception]) -> Releaser | None:
    found = _ipam_call(call, conf)
    opened: list[Releaser] = []
    if found is not None:
        _attempt(lambda: opened.append(open_for_release(call.request, found)), failures)
    return opened[0] if opened else None


def _release_firewall(site: Site, owner: Owner, port: Link | None) -> None:
    from spanbridge import firewall

    pinned = bridge.pinned_gateways(port, owner)
    if port is None or not pinned:
        firewall.release(site.host, owner)
        return
    held = all(site.node.is_local(str(each)) for each in pinned)
    firewall.release_pins(site.host, owner, IfName(port.name), pinned, held=held)


def _ours(conf: NetConf, request: Request) -> CniResult:
    """
    Cut our part out of ``prevResult``: the sandbox link and what is on it.

    Raises:
        ConfigError: There is no ``prevResult``, or our interface is not in it.
    """
    previous = conf.previous
    if previous is None:
        raise ConfigError(
            "cannot check the attachment: prevResult is missing",
            pointer="/prevResult",
            hint="the runtime passes the result of ADD on",
        )
    for number, interface in enumerate(previous.interfaces):
        if interface.name == request.ifname and interface.sandbox == request.netns:
            ips = tuple(
                IpConfig(ip.address, ip.gateway, CONTAINER_INDEX)
                for ip in previous.ips
                if ip.interface in {number, None}
            )
            named = [one for one in previous.interfaces if one.name == conf.bridge]
            bridges = [one for one in named if not one.sandbox]
            listed = (*bridges[:1], interface)
            return CniResult(listed, ips, previous.routes, previous.dns)
    raise ConfigError(
        f"cannot check the attachment: prevResult lists no {request.ifname} in {request.netns}",
        pointer="/prevResult/interfaces",
        hint="pass the unchanged result of ADD on",
    )


def check(call: Call) -> None:
    """
    Confirm that everything is as ADD promised.

    Raises:
        MismatchError: The first difference.
    """
    conf = parse_netconf(call.root)
    require_verb(conf.cni_version, "CHECK")
    parse_args(call.request.args, KNOWN_ARGS)
    owner = call.owner(conf)
    previous = _ours(conf, call.request)
    ipam = _open_ipam(call, conf)
    want = desired(conf, owner, mac=None, result=previous)
    macs = {each.name: each.mac for each in previous.interfaces}
    with _site(call, call.sandbox.open()) as site:
        port = bridge.check(
            site,
            want,
            bridge_mac=macs.get(conf.bridge, ""),
            sandbox_mac=macs.get(owner.ifname, ""),
        )
        _check_firewall(site, want, port, MacAddress(macs.get(owner.ifname, "")))
    if ipam is not None:
        ipam.check(previous)


def _check_firewall(site: Site, want: DesiredAttachment, port: Link, mac: MacAddress) -> None:
    if not want.uses_firewall:
        return
    from spanbridge import firewall

    if not want.masquerade and not want.spoof_check and not firewall.is_available():
        return  # ADD could not keep the gateway on the node, and has said so
    seen = firewall.observe(site.host, want.owner)
    hint = "delete the pod so that it is attached anew"
    for entry in want.masquerade:
        if entry not in seen.masquerade:
            raise MismatchError(
                f"cannot confirm masquerade of {entry.source}: its entry is missing", hint=hint
            )
    if want.spoof_check and seen.guard != firewall.SpoofGuard(IfName(port.name), mac):
        raise MismatchError(
            f"cannot confirm the MAC check on {port.name}: its entry is missing", hint=hint
        )
    check_gateway_pin(site, want, port, seen)
    if not seen.complete:
        raise MismatchError("cannot confirm the firewall: rules of ours are missing", hint=hint)


def collect(call: Call) -> None:
    """
    Remove everything of this network that no valid attachment holds (GC).

    Only what carries our tag for this network is touched, and files of this network's
    IPAM store.

    Raises:
        SpanbridgeError: The only failure, or a ``ReleaseError`` with all of them.
    """
    conf = parse_release_conf(call.root)
    require_verb(conf.cni_version, "GC")
    valid = parse_valid_attachments(call.root)
    keep = frozenset(Owner.of(conf.name, *each).tag for each in valid)
    failures: list[Exception] = []
    ipam = _releaser(call, conf, failures)
    by_link = ipam is not None and ipam.releases_by_link
    if ipam is not None and by_link:
        _attempt(lambda: ipam.collect(valid), failures)
    with _site(call, None) as site:
        _attempt(lambda: bridge.collect(site, conf.name, keep), failures)
    _attempt(lambda: _collect_firewall(call, conf, keep), failures)
    if ipam is not None and not by_link:
        _attempt(lambda: ipam.collect(valid), failures)
    _raise_failures(f"collect all stale attachments of {conf.name}", failures)


def _collect_firewall(call: Call, conf: ReleaseConf, keep: frozenset[str]) -> None:
    from spanbridge import firewall

    if conf.uses_firewall or firewall.is_available():
        firewall.collect(call.host, conf.name, keep)


def _probe_uplink(site: Site, want: UplinkState, name: IfName) -> None:
    from spanbridge.bridge.uplink import probe_uplink  # only those who have one pay for it

    probe_uplink(site, want, name)


def status(call: Call) -> None:
    """
    Tell whether an ADD would find what it needs.

    Raises:
        NotReadyError: Code 50, with what is missing.
    """
    conf = parse_netconf(call.root)
    require_verb(conf.cni_version, "STATUS")
    ipam = _open_ipam(call, conf)
    owner = Owner.of(conf.name, "status", "eth0")
    want = desired(conf, owner, mac=None, result=CniResult())
    with _site(call, None) as site:
        try:
            bridge.refuse_unsuitable(site.node.link(conf.bridge), want.bridge)
            if want.uplink is not None:
                _probe_uplink(site, want.uplink, conf.bridge)
        except NodeError as exc:
            raise NotReadyError(exc.message, hint=exc.hint) from exc
        probe_gateway(site, want)
    if conf.ip_masq or conf.mac_spoof_check:
        from spanbridge import firewall

        firewall.probe(call.host)
    if ipam is not None:
        ipam.status()
