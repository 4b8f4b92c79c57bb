# SPDX-License-Identifier: Apache-2.0
"""Observing a node for doctor: the kernel, the agent, files. Nothing is changed, nothing run."""

import contextlib
import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from spanbridge import __version__
from spanbridge.agent.agent_state import journal_bin_dirs, journal_confs, observe_agent
from spanbridge.agent.arp import Asked, who_has
from spanbridge.agent.settings import Places
from spanbridge.base.clock import SYSTEM, Clock
from spanbridge.base.errors import ConfigError, DecodeError, NodeError, SpanbridgeError
from spanbridge.bridge.uplink.record import Ledger
from spanbridge.cni.explain import PLUGIN_TYPES
from spanbridge.cni.install import inspect_program
from spanbridge.cni.program import PROGRAMS
from spanbridge.firewall.policies import observe_dropping
from spanbridge.kube.documents import PluginConf, read_documents
from spanbridge.model.node_state import (
    ConfState,
    LinkState,
    NodeState,
    ProgramState,
    RouteState,
    UplinkRecord,
    VlanEntry,
)
from spanbridge.model.reader import parse_object
from spanbridge.probing.links import observe_links
from spanbridge.rtnl import TABLE_MAIN, NetNs, Rtnl
from spanbridge.stretch.doctor import NF_CALL

BIN_DIRS: Final = (Path("/opt/cni/bin"),)
CONF_DIRS: Final = (Path("/etc/cni/net.d"), Path("/etc/cni/multus/net.d"))
_CONF_SUFFIXES: Final = {".conf", ".conflist", ".json"}
"""As container runtimes choose them. Source: libcni 1.2, conf.go, ConfFiles."""

_SYSCTLS: Final = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", NF_CALL)
_LISTEN_TIMEOUT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """
    Where to look.

    Attributes:
        places: Socket and directories of the agent.
        bin_dirs: Directories of CNI programs; empty for those that the agent's journal
            names, or else ``BIN_DIRS``.
        confs: Files with configurations; empty to look for them in ``conf_dirs`` and in
            the agent's journal.
        conf_dirs: Directories of configurations; those that are not there do not matter.
    """

    places: Places
    bin_dirs: tuple[Path, ...] = ()
    confs: tuple[Path, ...] = ()
    conf_dirs: tuple[Path, ...] = CONF_DIRS


def observe_node(look: Look, clock: Clock = SYSTEM) -> NodeState:
    """
    Observe the namespace of the calling thread, and the files of the machine.

    An agent that is not there, and files that cannot be read, are part of what is seen.

    Raises:
        NodeError: The kernel does not answer.
    """
    with NetNs.current() as host, Rtnl.open(host) as node:
        links = observe_links(node)
        agent = observe_agent(look.places, host)
        sysctls = _observe_sysctls(host, links)
        state_dir = Path(agent.state_dir)
        bin_dirs = look.bin_dirs or journal_bin_dirs(state_dir) or BIN_DIRS
        confs = _observe_confs(look)
        if not look.confs:
            confs += tuple(journal_confs(state_dir, host))
        return NodeState(
            node=socket.gethostname(),
            taken_s=clock.wall(),
            package_version=__version__,
            links=links,
            agent=agent,
            routes=tuple(_observe_routes(node)),
            sysctls=sysctls,
            confs=confs,
            programs=tuple(_observe_programs(bin_dirs)),
            uplinks=_observe_uplinks(look.places.state_dir),
            sockets=_observe_sockets(confs),
            free_bytes=_free_bytes(state_dir),
            # Asked only where it matters: it loads libnftables.
            dropping=observe_dropping(host) if sysctls.get(NF_CALL) == "1" else (),
        )


def probe(state: NodeState, questions: Iterable[Asked]) -> NodeState:
    """Ask by ARP for addresses, and add who answered; takes about a second."""
    return replace(state, probes=who_has(list(questions)))


# ---------------------------------------------------------------- the kernel


def _observe_routes(node: Rtnl) -> Iterator[RouteState]:
    names = {link.index: link.name for link in node.links()}
    for route in node.routes(table=TABLE_MAIN):
        yield RouteState(route.destination, names.get(route.oif, ""), route.gateway)


def _observe_sysctls(host: NetNs, links: Iterable[LinkState]) -> dict[str, str]:
    names = [link.name for link in links if link.addresses and not link.loopback]
    wanted = [*_SYSCTLS, *(f"net/ipv4/conf/{name}/rp_filter" for name in ("all", *names))]
    return {name: value for name, value in host.sysctls(wanted).items() if value is not None}


# ---------------------------------------------------------------- files


def _observe_confs(look: Look) -> tuple[ConfState, ...]:
    if look.confs:
        return tuple(each for path in look.confs for each in read_confs(path, given=True))
    files = sorted(
        path
        for directory in look.conf_dirs
        for path in _list(directory)
        if path.suffix in _CONF_SUFFIXES
    )
    found = [each for path in files for each in read_confs(path, given=False)]
    return tuple(each for each in found if each.fault or _is_bridge(each))


def _is_bridge(conf: ConfState) -> bool:
    return json.loads(conf.text).get("type") in PLUGIN_TYPES


def _list(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_file()]
    except OSError:
        return []


def read_confs(path: Path, *, given: bool) -> list[ConfState]:
    """Read the configurations of a file; what cannot be read is told in ``fault``."""
    try:
        return [_conf_state(each, given=given) for each in read_documents(path)]
    except (ConfigError, DecodeError) as exc:
        return [ConfState(str(path), fault=exc.message, given=given)]
    except OSError as exc:
        fault = f"cannot read it: {exc.strerror}"
        return [ConfState(str(path), fault=fault, given=given)]


def _conf_state(conf: PluginConf, *, given: bool) -> ConfState:
    return ConfState(conf.origin, json.dumps(dict(conf.root.raw)), given=given)


def _observe_programs(directories: Iterable[Path]) -> Iterator[ProgramState]:
    for directory in directories:
        for name in PROGRAMS:
            yield inspect_program(directory / name)


def _observe_uplinks(state_dir: Path) -> tuple[UplinkRecord, ...]:
    """Read what `spanbridge uplink ensure` was asked for; nothing where that is unreadable."""
    try:
        records = Ledger(state_dir / "uplinks").every()
    except (OSError, NodeError):
        return ()
    return tuple(
        UplinkRecord(
            each.wish.device,
            each.wish.bridge,
            tuple(VlanEntry(one.first, one.last) for one in each.wish.vlans),
            each.wish.mtu,
        )
        for each in records
    )


def _observe_sockets(confs: Iterable[ConfState]) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for conf in confs:
        with contextlib.suppress(ConfigError, DecodeError):  # judged with the others
            ipam = parse_object(conf.text.encode()).node("ipam")
            path = ipam.text("daemonSocketPath") if ipam else ""
            if path:
                found[path] = _listens(path)
    return found


def _listens(path: str) -> bool:
    with (
        contextlib.suppress(OSError, ValueError),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking,
    ):
        asking.settimeout(_LISTEN_TIMEOUT_S)
        asking.connect(path)
        return True
    return False


def _free_bytes(directory: Path) -> int | None:
    with contextlib.suppress(OSError, SpanbridgeError):
        seen = os.statvfs(directory)
        return seen.f_bavail * seen.f_frsize
    return None
