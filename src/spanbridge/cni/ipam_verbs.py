# SPDX-License-Identifier: Apache-2.0
"""
The verbs of ``host-local``, ``static`` and ``dhcp`` as programs of their own.

Another main plugin (macvlan, the reference bridge) executes them with its own
configuration on standard input.
"""

from spanbridge.base.errors import RetryError
from spanbridge.cni.verbs import Call
from spanbridge.ipam import IpamCall, open_for_release, open_ipam
from spanbridge.model.netconf import IpamConf, parse_name, parse_valid_attachments
from spanbridge.model.result import CniResult, parse_result
from spanbridge.model.version import parse_version, require_verb


def _ipam_call(call: Call, program: str) -> IpamCall:
    root = call.root
    version, name = parse_version(root), parse_name(root)
    section = root.node("ipam")
    if section is None:
        raise root.fault("ipam", "it is missing", f'write "ipam": {{"type": "{program}", …}}')
    # The caller chose this program by ipam.type, so the name is not checked again.
    return IpamCall(version, name, IpamConf(program, section), root, call.place)


def add(call: Call, program: str) -> CniResult:
    """Reserve addresses; asking again for the same owner answers the same."""
    ipam = open_ipam(call.request, _ipam_call(call, program))
    result = ipam.add()
    try:
        call.refuse_cancelled()
    except RetryError:
        ipam.release()
        raise
    return result


def check(call: Call, program: str) -> None:
    """Confirm the reservation."""
    ipam = _ipam_call(call, program)
    require_verb(ipam.cni_version, "CHECK")
    previous = call.root.node("prevResult")
    open_ipam(call.request, ipam).check(None if previous is None else parse_result(previous))


def delete(call: Call, program: str) -> None:
    """Give the addresses back."""
    open_for_release(call.request, _ipam_call(call, program)).release()


def collect(call: Call, program: str) -> None:
    """Give back what no valid attachment holds (GC)."""
    ipam = _ipam_call(call, program)
    require_verb(ipam.cni_version, "GC")
    open_for_release(call.request, ipam).collect(parse_valid_attachments(call.root))


def status(call: Call, program: str) -> None:
    """Tell whether an address could be had."""
    ipam = _ipam_call(call, program)
    require_verb(ipam.cni_version, "STATUS")
    open_ipam(call.request, ipam).status()
