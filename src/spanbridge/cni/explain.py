# SPDX-License-Identifier: Apache-2.0
"""What an ADD with this configuration would ensure, without touching anything."""

from typing import Final

from spanbridge.base.errors import ConfigError
from spanbridge.cni.desired import complete, desired
from spanbridge.ipam import IpamCall, IpamPreview, open_ipam
from spanbridge.model.netconf import NetConf, parse_netconf
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node
from spanbridge.model.request import Request
from spanbridge.model.result import CniResult
from spanbridge.report.explain import Explanation

_SOMEBODY: Final = Owner.of("network", "container", "eth0")

PLUGIN_TYPES: Final = frozenset({"bridge", "cnv-bridge"})
"""Names under which clusters run the bridge plugin."""


def _preview(conf: NetConf) -> IpamPreview:
    if conf.ipam is None:
        return IpamPreview((), None)
    request = Request(
        # Nothing is called, so a program that is missing on this machine is no fault.
        verb="VERSION",
        container_id=_SOMEBODY.container_id,
        netns="",
        ifname=_SOMEBODY.ifname,
        args="",
        path=(),
        allow_same_netns=False,
        stdin=b"",
        environ={},
    )
    return open_ipam(request, IpamCall(conf.cni_version, conf.name, conf.ipam, conf.root)).preview()


def explain(root: Node, origin: str) -> Explanation:
    """
    Turn a configuration into what it will do.

    Raises:
        SpanbridgeError: What an ADD would refuse before it touches anything.
    """
    kind = root.text("type")
    if kind and kind not in PLUGIN_TYPES:
        raise ConfigError(
            f"cannot explain plugin type {kind!r}: only the bridge plugin is ours",
            pointer=root.at("type"),
            hint='"type": "bridge"',
        )
    conf = parse_netconf(root)
    preview = _preview(conf)
    result = complete(conf, preview.example or CniResult())
    want = desired(conf, _SOMEBODY, mac=conf.mac, result=result)
    return Explanation(
        origin,
        conf,
        want,
        preview.words,
        has_example=preview.example is not None,
        unknown=conf.unknown + preview.unknown,
    )
