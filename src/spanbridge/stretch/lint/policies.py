# SPDX-License-Identifier: Apache-2.0
"""
What NodeNetworkConfigurationPolicies make of the nodes, as far as lint needs it.

Source: kubernetes-nmstate, pkg/bridge/bridge.go (a port without ``vlan`` becomes a trunk
of 2-4094); nmstate, linux_bridge.rs (filtering is on when some port has a VLAN block).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from spanbridge.base.names import VLAN_MAX, VlanId
from spanbridge.model.netconf import VlanRange, merge_ranges
from spanbridge.stretch.lint.views import (
    Item,
    as_integer,
    as_list,
    as_object,
    as_text,
    dig,
)

POLICY_KIND: Final = "NodeNetworkConfigurationPolicy"

_DEFAULT_TRUNK: Final = (VlanRange(VlanId(2), VlanId(VLAN_MAX)),)

CONTROL_PLANE_LABELS: Final = (
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
)
WORKER_LABEL: Final = "node-role.kubernetes.io/worker"


@dataclass(frozen=True, slots=True)
class Interface:
    """
    One interface that a policy describes.

    Attributes:
        policy: The policy.
        keys: Where it stands in the policy.
        raw: The description.
    """

    policy: Item
    keys: tuple[str, ...]
    raw: Mapping[str, object]

    @property
    def name(self) -> str:
        """Its name."""
        return as_text(self.raw.get("name"))

    @property
    def type(self) -> str:
        """Its type, such as linux-bridge."""
        return as_text(self.raw.get("type"))

    @property
    def mtu(self) -> int | None:
        """Its MTU in bytes; None where it is not given."""
        return as_integer(self.raw.get("mtu"))

    @property
    def absent(self) -> bool:
        """Whether the policy removes it."""
        return self.raw.get("state") == "absent"


@dataclass(frozen=True, slots=True)
class Port:
    """
    One port of a bridge.

    Attributes:
        name: The device.
        keys: Where it stands in the policy.
        vlan: Its VLAN block; None where it is not given.
    """

    name: str
    keys: tuple[str, ...]
    vlan: object

    @property
    def mode(self) -> str:
        """``access``, ``trunk``, or empty."""
        return as_text(dig(self.vlan, "mode"))

    @property
    def native(self) -> int | None:
        """The VLAN that leaves without a tag, where the block names one."""
        native = self.mode == "access" or dig(self.vlan, "enable-native") is True
        return as_integer(dig(self.vlan, "tag")) if native else None

    @property
    def tagged(self) -> tuple[VlanRange, ...]:
        """VLANs that leave with a tag."""
        if self.vlan is None:
            return _DEFAULT_TRUNK
        if self.mode == "access":
            return ()
        return merge_ranges([*_tag_ranges(dig(self.vlan, "trunk-tags"))])


@dataclass(frozen=True, slots=True)
class Bridge:
    """
    A bridge that a policy makes.

    Attributes:
        interface: Its description.
        ports: Its ports.
        filtering: Whether it will filter VLANs.
    """

    interface: Interface
    ports: tuple[Port, ...]
    filtering: bool


def _tag_ranges(tags: object) -> Iterator[VlanRange]:
    for tag in as_list(tags):
        single = as_integer(dig(tag, "id"))
        low, high = (as_integer(dig(tag, "id-range", end)) for end in ("min", "max"))
        if single is not None:
            yield VlanRange(VlanId(single), VlanId(single))
        elif low is not None and high is not None and low <= high:
            yield VlanRange(VlanId(low), VlanId(high))


def interfaces_of(policy: Item) -> Iterator[Interface]:
    """Find the interfaces that a policy describes."""
    found = policy.get("spec", "desiredState", "interfaces")
    for number, each in enumerate(as_list(found)):
        if isinstance(each, dict):
            keys = ("spec", "desiredState", "interfaces", str(number))
            yield Interface(policy, keys, each)


def as_bridge(interface: Interface) -> Bridge | None:
    """Take an interface as the Linux bridge that it is; None for others."""
    if interface.type != "linux-bridge" or interface.absent:
        return None
    ports = tuple(
        Port(
            as_text(dig(each, "name")),
            (*interface.keys, "bridge", "port", str(number)),
            as_object(each).get("vlan"),
        )
        for number, each in enumerate(as_list(dig(interface.raw, "bridge", "port")))
    )
    # An empty block opts out of the default; filtering is on where some port has one.
    filtering = any(port.vlan is None or bool(port.vlan) for port in ports)
    return Bridge(interface, ports, filtering)


def selects(policy: Item) -> Mapping[str, object]:
    """Return the labels that nodes must have; empty is every node."""
    return as_object(policy.get("spec", "nodeSelector"))


def may_reach_control_plane(policy: Item) -> bool:
    """Tell whether nodes of the control plane may be among those selected."""
    selector = selects(policy)
    names = selector.get("kubernetes.io/hostname")
    return WORKER_LABEL not in selector or names is not None
