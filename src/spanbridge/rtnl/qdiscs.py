# SPDX-License-Identifier: Apache-2.0
"""
The root queueing discipline of a link that is down.

A link that was never up has none (``noop``); once it was, the default one stays with it.

Source: linux/rtnetlink.h, struct tcmsg; net/sched/sch_api.c, qdisc_graft(), Linux 6.1.
"""

import struct
from typing import Final

from spanbridge.rtnl.messages import RTM_DELQDISC, RTM_NEWQDISC, Message
from spanbridge.rtnl.wire import NLM_F_CREATE, NLM_F_REPLACE, attribute_text

NOOP: Final = "noop"
"""Name of no queueing discipline at all."""

_TCMSG: Final = struct.Struct("=BxxxiIII")
"""tcmsg: u8 family, pad, s32 index, u32 handle, u32 parent, u32 info."""

_TCA_KIND: Final = 1
_TC_H_ROOT: Final = 0xFFFFFFFF


def forget_qdisc(index: int) -> tuple[Message, Message]:
    """
    Leave a link that is down without a queueing discipline, as before it was first up.

    A default one cannot be deleted, only one that somebody added.
    """
    body = _TCMSG.pack(0, index, 0, _TC_H_ROOT, 0)
    add = body + attribute_text(_TCA_KIND, "pfifo")
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return (
        Message(RTM_NEWQDISC, flags, add, f"set the queueing discipline of link {index}"),
        Message(RTM_DELQDISC, 0, body, f"delete the queueing discipline of link {index}"),
    )
