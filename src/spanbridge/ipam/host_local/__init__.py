# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PTH123 - the one-shot program does not import pathlib
"""
``ipam.type`` host-local: addresses from ranges of this node, kept as files.

The same fields, order of allocation and files as the reference plugin, so that a node
changes plugins in place; what was unsafe there is done right (docs/reference/differences.md).
"""

from typing import Final

from spanbridge.base.errors import (
    AddressError,
    Code,
    MismatchError,
    NodeError,
    NotReadyError,
    ReleaseError,
    SpanbridgeError,
)
from spanbridge.base.log import warn
from spanbridge.ipam import DEFAULT_DATA_DIR, IpamCall, IpamPreview
from spanbridge.ipam.host_local.conf import HostLocalConf, parse_data_dir, parse_host_local
from spanbridge.ipam.host_local.index import SPAN_MAX, SPANS_MAX, Span
from spanbridge.ipam.host_local.ranges import Range, RangeSet, candidates, describe
from spanbridge.ipam.host_local.store import Holder, Session, Store
from spanbridge.ipam.resolv import parse_resolv_conf
from spanbridge.model.addresses import Cidr, Ip
from spanbridge.model.request import Request
from spanbridge.model.result import CniResult, Dns, IpConfig

__all__ = ["HostLocal", "HostLocalFiles", "open_host_local", "open_host_local_for_release"]

_SHOWN: Final = 8
"""Failures of GC that a message lists one by one; the rest is counted."""


def open_host_local(
    request: Request, call: IpamCall, *, default_data_dir: str = DEFAULT_DATA_DIR
) -> "HostLocal":
    """Read and check everything; touches nothing."""
    conf = parse_host_local(request, call, default_data_dir)
    if request.verb == "ADD":
        for key in conf.unknown:
            warn("unknown key in ipam is not read", key=key.pointer, nearest=key.nearest)
    return HostLocal(conf, call.name, Holder(request.container_id, request.ifname))


def open_host_local_for_release(
    request: Request, call: IpamCall, *, default_data_dir: str = DEFAULT_DATA_DIR
) -> "HostLocalFiles":
    """Read only where the files are: DEL and GC need no valid ranges."""
    data_dir = parse_data_dir(call.ipam.node, default_data_dir)
    return HostLocalFiles(Store(data_dir, call.name), Holder(request.container_id, request.ifname))


class HostLocalFiles:
    """Giving back, which needs to know nothing but where the files are."""

    needs_link: Final = False
    releases_by_link: Final = False

    def __init__(self, store: Store, holder: Holder) -> None:
        self._store = store
        self._holder = holder

    def release(self) -> None:
        """Remove the files of this attachment, in whatever range they are."""
        if not self._store.exists():
            return
        with self._store.session() as session:
            # Files of the old form do not say which interface: the last resort, as there.
            for holder in (self._holder, Holder(self._holder.container_id, "")):
                held = session.held_by(holder)
                for ip in held:
                    session.free(ip, holder)
                if held:
                    return

    def collect(self, valid: frozenset[tuple[str, str]]) -> None:
        """
        Remove the files of all others, and those that name nobody.

        Raises:
            ReleaseError: Some could not be removed; the others are.
        """
        if not self._store.exists():
            return
        alive = {container_id for container_id, _ in valid}
        causes: list[Exception] = []
        with self._store.session() as session:
            for ip, holder in session.reservations():
                if holder is not None and (
                    (holder.container_id, holder.ifname) in valid
                    or (not holder.ifname and holder.container_id in alive)
                ):
                    continue
                try:
                    session.discard(ip) if holder is None else session.free(ip, holder)
                except OSError as exc:
                    causes.append(exc)
        if causes:
            raise ReleaseError(
                f"cannot release {len(causes)} addresses in {self._store.directory}",
                causes[:_SHOWN],
            )


class HostLocal(HostLocalFiles):
    """One address from every range set."""

    def __init__(self, conf: HostLocalConf, network: str, holder: Holder) -> None:
        super().__init__(Store(conf.data_dir, network), holder)
        self._conf = conf

    # ------------------------------------------------------------ ADD

    def add(self) -> CniResult:
        """
        Reserve one address per set; the same call again answers the same.

        Raises:
            AddressError: Exhausted, or the address asked for is somebody else's.
            NodeError: The store or the resolv.conf cannot be used.
        """
        dns = self._read_dns()
        with self._store.session(self._spans) as session:
            taken: list[Ip] = []
            try:
                ips = tuple(
                    self._address(session, number, taken) for number in range(len(self._conf.sets))
                )
            except BaseException:
                # Only what this call reserved: the rest may be in use.
                for ip in taken:
                    session.free(ip, self._holder)
                raise
        return CniResult(ips=ips, routes=self._conf.routes, dns=dns)

    def _address(self, session: Session, number: int, taken: list[Ip]) -> IpConfig:
        ranges, wanted = self._conf.sets[number], self._conf.requested[number]
        found = self._held(session, ranges, wanted)
        if found is None and wanted is not None:
            found = self._take(session, wanted, ranges)
            taken.append(wanted)
        if found is None:
            found = self._next(session, number)
            taken.append(found[0])
            session.set_cursor(number, found[0])
        ip, source = found
        return IpConfig(Cidr(ip, source.subnet.prefix_length), gateway=str(source.gateway))

    def _held(
        self, session: Session, ranges: RangeSet, wanted: Ip | None
    ) -> tuple[Ip, Range] | None:
        """Find what this attachment holds in the set already."""
        held = _within(session.held_by(self._holder), ranges)
        for ip, source in held:
            if wanted in {None, ip}:
                return ip, source
        old = Holder(self._holder.container_id, "")
        clashing = held or _within(session.held_by(old), ranges)
        if clashing:
            raise AddressError(
                f"cannot reserve {wanted or 'an address'} for {self._holder}: "
                f"{'it' if held else f'container {old}'} holds {clashing[0][0]} already",
                hint="run DEL for this attachment first",
            )
        return None

    def _take(self, session: Session, wanted: Ip, ranges: RangeSet) -> tuple[Ip, Range]:
        holder = session.reserve(wanted, self._holder)
        if holder is not None:
            session.distrust(wanted)
            raise AddressError(
                f"cannot reserve {wanted} for {self._holder}: {holder} holds it",
                hint="ask for another address, or run DEL for its holder, or GC if that is gone",
            )
        return _within([wanted], ranges)[0]

    def _next(self, session: Session, number: int) -> tuple[Ip, Range]:
        ranges = self._conf.sets[number]
        # Exhaustion is never claimed from the cache: the second round knows the directory.
        while True:
            for ip, source in candidates(ranges, session.cursor(number), session.next_free):
                if session.reserve(ip, self._holder) is None:
                    return ip, source
                session.distrust(ip)
            if not session.rebuild():
                raise AddressError(
                    f"cannot reserve an address for {self._holder}: "
                    f"all of {describe(ranges)} are taken",
                    hint=f"widen the range, or let GC remove dead containers' files from "
                    f"{self._store.directory}",
                    code=Code.ADDRESSES_EXHAUSTED,
                )

    @property
    def _spans(self) -> tuple[Span, ...]:
        spans = [(each.first, each.last) for ranges in self._conf.sets for each in ranges]
        small = [span for span in spans if span[1].number - span[0].number < SPAN_MAX]
        return tuple(small[:SPANS_MAX])

    def _read_dns(self) -> Dns:
        path = self._conf.resolv_conf
        if not path:
            return Dns()
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                return parse_resolv_conf(stream.read())
        except OSError as exc:
            raise NodeError(
                f"cannot read resolvConf {path}: {exc.strerror}",
                hint="correct ipam.resolvConf, or remove it",
                code=Code.STORE,
            ) from exc

    # ------------------------------------------------------------ CHECK, STATUS

    def check(self, previous: CniResult | None) -> None:
        """
        Compare with the files: one address per set, and every one of ``previous``.

        Raises:
            MismatchError: Names the first difference.
        """
        held = self._all_held()
        for ranges in self._conf.sets:
            if not _within(held, ranges):
                raise MismatchError(
                    f"cannot find an address of {describe(ranges)} that is reserved for "
                    f"{self._holder} in {self._store.directory}",
                    hint="delete and add the attachment again",
                )
        subnets = [each.subnet for ranges in self._conf.sets for each in ranges]
        for config in previous.ips if previous is not None else ():
            ip = config.address.ip
            if ip not in held and any(ip in subnet for subnet in subnets):
                raise MismatchError(
                    f"cannot confirm {ip}: it is not reserved for {self._holder} "
                    f"in {self._store.directory}",
                    hint="delete and add the attachment again",
                )

    def _all_held(self) -> list[Ip]:
        if not self._store.exists():
            return []
        with self._store.session(self._spans) as session:
            held = session.held_by(self._holder)
            return held or session.held_by(Holder(self._holder.container_id, ""))

    def status(self) -> None:
        """
        Tell whether an ADD would find an address and could write it down.

        Raises:
            NotReadyError: It would not.
        """
        try:
            self._read_dns()
            fault = self._store.write_fault() or self._exhausted()
        except SpanbridgeError as exc:
            raise NotReadyError(exc.message, hint=exc.hint) from exc
        if fault:
            raise NotReadyError(f"cannot reserve addresses: {fault}")

    def _exhausted(self) -> str:
        if not self._store.exists():
            return ""
        with self._store.session(self._spans) as session:
            for ranges in self._conf.sets:
                if not _any_free(session, ranges):
                    return f"all of {describe(ranges)} are taken"
        return ""

    # ------------------------------------------------------------ explain

    def preview(self) -> IpamPreview:
        """Tell what ADD would do; touches nothing."""
        pairs = list(zip(self._conf.sets, self._conf.requested, strict=True))
        words = [_words(ranges, wanted) for ranges, wanted in pairs]
        words.append(f"reservations are files in {self._store.directory}, on this node only")
        if self._conf.resolv_conf:
            words.append(f"DNS settings are read from {self._conf.resolv_conf} on every ADD")
        first = [_within([wanted], ranges)[0] if wanted else next(candidates(ranges, None))
                 for ranges, wanted in pairs]  # fmt: skip
        ips = tuple(
            IpConfig(Cidr(ip, source.subnet.prefix_length), gateway=str(source.gateway))
            for ip, source in first
        )
        example = CniResult(ips=ips, routes=self._conf.routes) if ips else None
        return IpamPreview(tuple(words), example, self._conf.unknown)


def _within(ips: list[Ip], ranges: RangeSet) -> list[tuple[Ip, Range]]:
    return [(ip, each) for ip in ips for each in ranges if each.holds(ip)]


def _any_free(session: Session, ranges: RangeSet) -> bool:
    while True:
        for ip, _ in candidates(ranges, None, session.next_free):
            if session.holder(ip) is None:
                return True
        if not session.rebuild():
            return False


def _words(ranges: RangeSet, wanted: Ip | None) -> str:
    gateways = ", ".join(dict.fromkeys(str(each.gateway) for each in ranges))
    noun = "gateways" if "," in gateways else "gateway"
    if wanted is not None:
        how = f"the address {wanted} as requested, of {describe(ranges)}"
    else:
        how = f"one address of {describe(ranges)}, the next free one after the last given"
    return f"{how}; {noun} {gateways}"
