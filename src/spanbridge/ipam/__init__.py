# SPDX-License-Identifier: Apache-2.0
"""
Address management behind one protocol: host-local, static, dhcp, delegation to CNI_PATH.

Owns the on-disk stores, the DHCP client, and the running of delegated plugins. May
import ``rtnl``, ``model`` and ``base``. Must never know about bridges, nor put an
address or a route into the kernel.

``open_ipam`` parses and checks the whole section before anything is touched and
imports only the implementation that is asked for: this is the path of a starting pod.
For the same reason inner types are named tuples here: defining a frozen dataclass takes
0.6 ms, a named tuple 0.1 ms.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from spanbridge.model.netconf import IpamConf
from spanbridge.model.reader import Node, UnknownKey
from spanbridge.model.request import Request
from spanbridge.model.result import CniResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from spanbridge.ipam.dhcp.keeper import LeaseKeeper
    from spanbridge.rtnl import NetNs

__all__ = [
    "BUILT_IN",
    "CNI_ARGS_KEYS",
    "DEFAULT_DATA_DIR",
    "Ipam",
    "IpamCall",
    "IpamPlace",
    "IpamPreview",
    "Releaser",
    "SandboxOfCall",
    "open_for_release",
    "open_ipam",
]

BUILT_IN: Final = ("host-local", "static", "dhcp")
"""Values of ``ipam.type`` that run in process; any other is executed from CNI_PATH."""

CNI_ARGS_KEYS: Final = frozenset({"IP", "GATEWAY"})
"""Keys of CNI_ARGS that some implementation reads; for the main plugin's own check."""

DEFAULT_DATA_DIR: Final = "/var/lib/cni/networks"
"""Where host-local keeps its files. Source: CNI plugins, host-local documentation."""


class SandboxOfCall(Protocol):
    """The container's network namespace, for those who need more than its path."""

    def open(self) -> "NetNs":
        """Open it; it is closed with the call. Raises ``CallError`` where there is none."""

    def open_if_there(self) -> "NetNs | None":
        """Open it for DEL; None where it is gone."""

    def path_here(self) -> str:
        """Name it for a child process of ours."""


class IpamPlace(NamedTuple):
    """
    Where a call works.

    Attributes:
        host: The caller's network namespace; None is the one this process is in.
        sandbox: The container's; None where only the configuration is read.
        keeper: Who keeps DHCP leases; None asks the agent at its socket.
        cancelled: Tells whether the caller has given up.
    """

    host: "NetNs | None" = None
    sandbox: SandboxOfCall | None = None
    keeper: "LeaseKeeper | None" = None
    cancelled: "Callable[[], bool]" = bool


NOWHERE: Final = IpamPlace()
"""For calls that only read the configuration."""


@dataclass(frozen=True, slots=True)
class IpamCall:
    """
    What address management needs of a configuration, whosever it is.

    Attributes:
        cni_version: One of ``version.SUPPORTED``.
        name: Network name, already checked.
        ipam: The ``ipam`` section.
        root: The whole document, for ``runtimeConfig``, ``args`` and ``capabilities``.
        place: Where the call works.
    """

    cni_version: str
    name: str
    ipam: IpamConf
    root: Node
    place: IpamPlace = NOWHERE


@dataclass(frozen=True, slots=True)
class IpamPreview:
    """
    What ADD would do, for ``spanbridge explain``.

    Attributes:
        words: Plain sentences without a final full stop.
        example: What the first ADD on an empty store answers; None where unknowable.
        unknown: Keys of the section that nobody reads.
    """

    words: tuple[str, ...]
    example: CniResult | None
    unknown: tuple[UnknownKey, ...] = ()


class Releaser(Protocol):
    """The part that works without a valid configuration of ranges and addresses."""

    @property
    def releases_by_link(self) -> bool:
        """Whether ``release`` sends frames, and so has to come before the link goes."""

    def release(self) -> None:
        """Give back what the attachment holds; succeeds on what is gone (DEL)."""

    def collect(self, valid: frozenset[tuple[str, str]]) -> None:
        """
        Give back what this network's dead attachments hold (GC).

        Args:
            valid: Pairs of container id and interface name that stay.
        """


class Ipam(Releaser, Protocol):
    """Address management of one call."""

    @property
    def needs_link(self) -> bool:
        """Whether ``add`` needs the interface in the sandbox to be up."""

    def add(self) -> CniResult:
        """Reserve: addresses without an interface index, routes and DNS settings."""

    def check(self, previous: CniResult | None) -> None:
        """Raise ``MismatchError`` where ``previous`` is not reserved for this attachment."""

    def status(self) -> None:
        """Raise ``NotReadyError`` when an ADD would fail now."""

    def preview(self) -> IpamPreview:
        """Tell what ADD would do; touches nothing."""


def open_ipam(
    request: Request, call: IpamCall, *, default_data_dir: str = DEFAULT_DATA_DIR
) -> Ipam:
    """
    Read and check the ``ipam`` section and all that the call adds to it; touches nothing.

    Raises:
        ConfigError: A field is wrong; carries its pointer.
        CallError: CNI_ARGS asks for what cannot be.
        DelegateError: On ADD, the program is in none of the directories of CNI_PATH.
    """
    if call.ipam.type == "host-local":
        from spanbridge.ipam.host_local import open_host_local

        return open_host_local(request, call, default_data_dir=default_data_dir)
    if call.ipam.type == "static":
        from spanbridge.ipam.static import open_static

        return open_static(request, call)
    if call.ipam.type == "dhcp":
        from spanbridge.ipam.dhcp.plugin import open_dhcp

        return open_dhcp(request, call)
    from spanbridge.ipam.delegate import Delegate

    return Delegate(request, call)


def open_for_release(
    request: Request, call: IpamCall, *, default_data_dir: str = DEFAULT_DATA_DIR
) -> Releaser:
    """
    Open for DEL and GC: neither invalid ranges nor a malformed CNI_ARGS stop them.

    Raises:
        ConfigError: ``ipam.dataDir`` is no absolute path.
    """
    if call.ipam.type == "host-local":
        from spanbridge.ipam.host_local import open_host_local_for_release

        return open_host_local_for_release(request, call, default_data_dir=default_data_dir)
    if call.ipam.type == "static":
        from spanbridge.ipam.static import Static

        return Static(addresses=())
    if call.ipam.type == "dhcp":
        from spanbridge.ipam.dhcp.plugin import open_dhcp_for_release

        return open_dhcp_for_release(request, call)
    from spanbridge.ipam.delegate import Delegate

    return Delegate(request, call)
