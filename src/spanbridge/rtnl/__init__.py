# SPDX-License-Identifier: Apache-2.0
"""
Links, addresses, routes, neighbours and bridge VLANs, straight from the kernel.

The codec is pure: builders return a ``Message``, parsers take the body of an answer.
``Rtnl`` is the socket, ``NetNs`` an open network namespace. This package alone opens
netlink sockets and enters namespaces.

May import ``base``. Must never know what CNI is, run a process, or import what makes
a one-shot program start slowly.
"""

from spanbridge.rtnl.addresses import FOREVER, Address, del_address, new_address
from spanbridge.rtnl.linkchanges import (
    del_link,
    new_bridge,
    new_dummy,
    new_veth,
    new_vlan,
    set_bridge,
    set_link,
    set_link_local,
    set_port,
)
from spanbridge.rtnl.links import BridgeInfo, Link, PortInfo
from spanbridge.rtnl.messages import SCOPE_HOST, SCOPE_LINK, SCOPE_UNIVERSE, Message
from spanbridge.rtnl.named import create_named_netns, delete_named_netns, named_netns
from spanbridge.rtnl.neighbours import Neighbour, del_neighbour, new_neighbour
from spanbridge.rtnl.netns import NETNS_DIR, NetNs
from spanbridge.rtnl.qdiscs import NOOP, forget_qdisc
from spanbridge.rtnl.routes import (
    TABLE_LOCAL,
    TABLE_MAIN,
    NextHop,
    Route,
    del_route,
    new_route,
)
from spanbridge.rtnl.socket import Rtnl
from spanbridge.rtnl.transport import RtnlError
from spanbridge.rtnl.vlans import PortVlan, add_vlan, add_vlans, del_vlan, del_vlans
from spanbridge.rtnl.wire import WireError

__all__ = [
    "FOREVER",
    "NETNS_DIR",
    "NOOP",
    "SCOPE_HOST",
    "SCOPE_LINK",
    "SCOPE_UNIVERSE",
    "TABLE_LOCAL",
    "TABLE_MAIN",
    "Address",
    "BridgeInfo",
    "Link",
    "Message",
    "Neighbour",
    "NetNs",
    "NextHop",
    "PortInfo",
    "PortVlan",
    "Route",
    "Rtnl",
    "RtnlError",
    "WireError",
    "add_vlan",
    "add_vlans",
    "create_named_netns",
    "del_address",
    "del_link",
    "del_neighbour",
    "del_route",
    "del_vlan",
    "del_vlans",
    "delete_named_netns",
    "forget_qdisc",
    "named_netns",
    "new_address",
    "new_bridge",
    "new_dummy",
    "new_neighbour",
    "new_route",
    "new_veth",
    "new_vlan",
    "set_bridge",
    "set_link",
    "set_link_local",
    "set_port",
]
