# SPDX-License-Identifier: Apache-2.0
"""One ordered pair, and who claims an address: what a station sees of the network."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from spanbridge.model.observations import (
    Claim,
    Dial,
    Echo,
    Endpoint,
    Neighbour,
    PairProbe,
    PathMtu,
    Role,
)
from spanbridge.probing.dial import Address, Dialler, DialSettings, dial
from spanbridge.probing.echo import (
    EchoSettings,
    Pinger,
    Run,
    find_path_mtu,
    find_present,
    measure,
)
from spanbridge.probing.pace import Pace
from spanbridge.probing.station import Station

HANDLER_PORT: Final = 8443
"""Of a virt-handler. Source: KubeVirt 1.9, cmd/virt-handler."""

SYNC_PORT: Final = 9185
"""Of the sync controller that leads. Source: KubeVirt 1.9, pkg/virt-operator."""

PORTS: Final[Mapping[Role, tuple[int, ...]]] = {
    Role.HANDLER: (HANDLER_PORT,),
    Role.LEADER: (SYNC_PORT,),
    Role.STANDBY: (SYNC_PORT,),
}

_ASKS: Final = 3
_AGAIN_S: Final = 0.05
_SECOND_S: Final = 0.15
"""How long a second owner of an address may take after the last question."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """
    How to probe.

    Attributes:
        echo: ICMP.
        dial: TCP and TLS.
        mtu: Bytes that every path ought to carry; 0 for what the source's device has.
        pace: How patient to be.
    """

    echo: EchoSettings = field(default_factory=EchoSettings)
    dial: DialSettings = field(default_factory=DialSettings)
    mtu: int = 0
    pace: Pace = field(default_factory=Pace)


def common_address(source: Endpoint, target: Endpoint) -> str:
    """
    Choose the address that ``source`` has to dial; empty without a common family.

    KubeVirt tells others a pod's first address only. Source: pkg/virt-handler/migration.go.
    """
    families = {":" in each for each in source.addresses}
    return next((each for each in target.addresses[:1] if (":" in each) in families), "")


async def probe_pair(
    station: Station,
    target: Endpoint,
    settings: ProbeSettings,
    *,
    ear: Station | None = None,
    dialler: Dialler | None = None,
) -> PairProbe:
    """
    Measure one ordered pair.

    Args:
        station: Of the source.
        target: Whom to ask.
        settings: How.
        ear: The target's own station, where it is at hand: counts what arrives.
        dialler: With the credentials to dial with; None leaves TLS out.
    """
    names = (station.endpoint.name, target.name)
    address = common_address(station.endpoint, target)
    if not address:
        return PairProbe(*names)
    route = station.route(address)
    asked = _Asked(station, target, address, settings, ear)
    # What leaves by another device has no neighbour on this link.
    on_link = not route.next_hop and route.device in {station.interface, "lo"}
    try:
        neighbour, (echo, path_mtu, dials) = await asyncio.gather(
            asked.neighbour() if on_link else _nobody(), asked.packets(dialler)
        )
    finally:
        station.forget(address)
        if ear is not None:
            ear.forget(common_address(target, station.endpoint))
    return PairProbe(*names, address, route, neighbour, echo, path_mtu, dials)


async def _nobody() -> None:
    """Ask nobody."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One pair under way."""

    station: Station
    target: Endpoint
    address: str
    settings: ProbeSettings
    ear: Station | None

    async def neighbour(self) -> Neighbour:
        """Ask who has the address, and listen to the end: a second owner may be slower."""
        before = self._questions()
        pace, asked = self.settings.pace, 0
        limit_s = self.settings.echo.patience_s
        while asked < _ASKS or (not self._macs() and limit_s > 0):
            self.station.ask(self.address)
            asked += 1
            pause_s = _AGAIN_S if asked < _ASKS else _SECOND_S
            await pace.until(lambda: False, pause_s)
            limit_s -= pause_s
        heard = None if before is None else (self._questions() or 0) - before
        return Neighbour(asked, self._macs(), heard)

    def _macs(self) -> tuple[str, ...]:
        self.station.hear()
        return tuple(self.station.answers.get(self.address, ()))

    def _questions(self) -> int | None:
        if self.ear is None:
            return None
        self.ear.hear()
        return self.ear.questions.get((self.station.mac, self.address), 0)

    async def packets(
        self, dialler: Dialler | None
    ) -> tuple[Echo, PathMtu | None, tuple[Dial, ...]]:
        """Send echoes; where somebody is there, find the path MTU and connect."""
        pinger = self.station.pinger(self.address)
        with pinger.run(self.address) as run:
            present = await find_present(pinger, run, self.settings.echo, self.settings.pace)
            if present:
                await measure(pinger, run, self.settings.echo, self.settings.pace)
            echo = self._echo(pinger, run)
        path_mtu = None
        if echo.received:
            largest = self.settings.mtu or self.station.endpoint.mtu
            path_mtu = await find_path_mtu(pinger, self.address, largest, self.settings.pace)
        # Echoes may be filtered where connections are not.
        dials = await self._dials(dialler) if present or self._macs() else ()
        return echo, path_mtu, dials

    def _echo(self, pinger: Pinger, run: Run) -> Echo:
        heard = None
        if self.ear is not None:
            self.ear.hear()
            heard = len(self.ear.echoes[pinger.token, run.ident] & set(run.sent_ns))
        rtt_us = tuple(run.rtt_us[each] for each in sorted(run.rtt_us))
        return Echo(len(run.sent_ns), rtt_us, run.duplicates, heard)

    async def _dials(self, dialler: Dialler | None) -> tuple[Dial, ...]:
        return tuple(
            [
                await dial(
                    Address(self.address, port),
                    self._open_socket,
                    dialler,
                    settings=self.settings.dial,
                    pace=self.settings.pace,
                )
                for port in PORTS[self.target.role]
            ]
        )

    def _open_socket(self, family: socket.AddressFamily) -> socket.socket:
        return self.station.run(lambda: socket.socket(family, socket.SOCK_STREAM))


async def ask_claims(
    station: Station, gateways: Sequence[str], settings: ProbeSettings
) -> tuple[Claim, ...]:
    """
    Ask who answers for gateways, and for the station's own addresses: that must be nobody.

    Args:
        station: Who asks.
        gateways: Addresses of routers.
        settings: How.
    """
    families = {":" in each for each in station.endpoint.addresses}
    asked = [*station.endpoint.addresses, *(each for each in gateways if (":" in each) in families)]
    for number in range(_ASKS):
        for address in asked:
            # Who asks for an address of its own must not claim it while asking.
            station.ask(address, claim=address not in station.endpoint.addresses)
        pause_s = _AGAIN_S if number < _ASKS - 1 else _SECOND_S
        await settings.pace.until(lambda: False, pause_s)
    station.hear()
    return tuple(
        Claim(station.endpoint.name, each, tuple(station.answers.get(each, ()))) for each in asked
    )
