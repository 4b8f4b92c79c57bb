# SPDX-License-Identifier: Apache-2.0
"""
The lab's DHCP server: a real dnsmasq on an access port of the fabric, in the VLAN.

What it knows is read from its own lease file and its own log.
"""

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.lab.daemons import Daemon, await_ready, find_daemon, launch
from spanbridge.lab.place import Place
from spanbridge.lab.topology import DHCP_LINK, DHCP_NETNS, Lab

LEASE_S: Final = 120
"""The shortest that dnsmasq gives. Source: dnsmasq(8), --dhcp-range."""

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STARTED: Final = "DHCP, sockets bound"
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class DhcpLease:
    """A line of dnsmasq's lease file; ``expires`` is in seconds since 1970, 0 is never."""

    mac: str
    address: str
    expires: int


@dataclass(frozen=True, slots=True)
class Dnsmasq:
    """
    The server's program and files.

    Attributes:
        place: Where the lab's files are.
    """

    place: Place

    @property
    def daemon(self) -> Daemon:
        """Its process."""
        return Daemon("dnsmasq", DHCP_NETNS, self.place.dhcp_dir, "dnsmasq")

    @property
    def lease_file(self) -> Path:
        """What it has given."""
        return self.place.dhcp_dir / "dnsmasq.leases"

    @property
    def conf_file(self) -> Path:
        """Its configuration, where a plan made it."""
        return self.place.dhcp_dir / "dnsmasq.conf"

    def leases(self) -> tuple[DhcpLease, ...]:
        """Read what it has given and not been given back."""
        try:
            return parse_leases(self.lease_file.read_text())
        except FileNotFoundError:
            return ()

    def log(self) -> tuple[str, ...]:
        """Read all that it has logged."""
        try:
            return tuple(self.daemon.log_file.read_text(errors="replace").splitlines())
        except FileNotFoundError:
            return ()


def parse_leases(text: str) -> tuple[DhcpLease, ...]:
    """
    Read a lease file of IPv4: expiry, MAC, address, host name, client id in each line.

    Source: dnsmasq 2.90, src/lease.c, lease_update_file.
    """
    lines = [line.split() for line in text.splitlines()]
    return tuple(
        DhcpLease(mac=words[1], address=words[2], expires=int(words[0]))
        for words in lines
        if len(words) >= 4 and words[0].isdigit()
    )


def about(log: tuple[str, ...], kind: str, address: str = "") -> tuple[str, ...]:
    """Choose the lines of a log on messages of a kind, for example DHCPACK, with an address."""
    found = (line.partition(f" {kind}(") for line in log)
    return tuple(
        f"{kind}({rest}"
        for _, mark, rest in found
        if mark and (not address or address in rest.split())
    )


def render_command(lab: Lab, server: Dnsmasq, *, program: str = "dnsmasq") -> list[str]:
    """
    Make the command line of dnsmasq.

    Raises:
        NodeError: The lab was planned without a DHCP server.
    """
    if lab.dhcp is None:
        raise NodeError("cannot start a DHCP server: the nodes hand out the addresses")
    planned = lab.parameters.planned
    if planned is not None:
        return [
            *(program, "--no-daemon", f"--conf-file={server.conf_file}", "--pid-file="),
            *(f"--interface={DHCP_LINK}", "--no-ping", "--log-facility=-"),
        ]
    pool, mask = lab.dhcp.pool, lab.subnet.netmask
    return [
        # This mode also keeps it from changing users: a user namespace has but one.
        *(program, "--no-daemon", "--conf-file=/dev/null", "--pid-file="),
        # It serves DHCP only, on its one link.
        *("--port=0", f"--interface={DHCP_LINK}", "--bind-interfaces"),
        # Clients probe what they get by ARP; a ping before each offer would cost 3 s.
        *("--dhcp-authoritative", "--no-ping"),
        f"--dhcp-range={pool.first},{pool.last},{mask},{LEASE_S}",
        f"--dhcp-option=option:router,{lab.dhcp.router}",
        *(f"--dhcp-leasefile={server.lease_file}", "--log-facility=-"),
    ]


def start_dnsmasq(lab: Lab, place: Place) -> None:
    """
    Start the server in its namespace, and wait until it serves.

    Raises:
        NodeError: It is not installed, or does not start.
    """
    program = shutil.which("dnsmasq", path=_PATH)
    if program is None:
        raise NodeError(
            "cannot start the DHCP server: there is no dnsmasq (Debian: dnsmasq-base)",
            hint="run `make setup` as root, or use --ipam host-local",
        )
    server = Dnsmasq(place)
    if lab.parameters.planned is not None:
        # As planned, but for the lease file: that would lie on this machine's own disk.
        own = f"dhcp-leasefile={server.lease_file}"
        text = re.sub(r"(?m)^dhcp-leasefile=.*$", own, lab.parameters.planned.dnsmasq)
        place.dhcp_dir.mkdir(parents=True, exist_ok=True)
        server.conf_file.write_text(text)
    started = _starts(server)
    launch(server.daemon, render_command(lab, server, program=program), env={"PATH": _PATH})
    await_ready(server.daemon, lambda: _starts(server) > started)


def _starts(server: Dnsmasq) -> int:
    """Count how often the server has said that it serves; a restart goes on with the log."""
    return sum(_STARTED in line for line in server.log())


def await_released(server: Dnsmasq, *, timeout_s: float) -> tuple[DhcpLease, ...]:
    """Wait until everything that was leased is given back; return what is not."""

    def settled() -> bool:
        return not server.leases() or find_daemon(server.daemon) is None

    wait_until(settled, timeout_s=timeout_s)
    return server.leases()


def wait_until(happened: Callable[[], bool], *, timeout_s: float) -> bool:
    """Look again and again until something is so; tell whether it is."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
