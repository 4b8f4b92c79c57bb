# SPDX-License-Identifier: Apache-2.0
"""What is there already when something else comes: looked at before every change of an ADD."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanbridge.cni.program import answer
from spanbridge.cni.surroundings import Surroundings
from spanbridge.rtnl import NetNs
from spanbridge.testing.crash import killed_at_every_change
from spanbridge.testing.plugin import AskTool, Netns
from spanbridge.testing.runtime import Conf

MakeConf = Callable[..., Conf]
Links = Callable[[Netns], dict[str, Any]]


@pytest.mark.timeout(120)
def test_the_check_of_macs_is_there_before_the_pod_can_send(
    layer3: MakeConf, node: Netns, pod: Netns, links: Links, nft_json: AskTool, tmp_path: Path
) -> None:
    conf = json.dumps(layer3(macspoofchk=True, isGateway=True)).encode()
    environ = {
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": str(pod.path),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/nowhere",
    }

    def call(verb: str) -> None:
        with NetNs.open(str(node.path)) as host:
            around = Surroundings(host, tmp_path / "run")
            document, status = answer("bridge", environ | {"CNI_COMMAND": verb}, conf, around)
        assert status == 0, document

    # What stays of a first attachment is there from the start: each one makes the same changes.
    call("ADD")
    call("DEL")
    raised = 0
    for _ in killed_at_every_change(lambda: call("ADD")):
        eth0 = links(pod).get("eth0")
        if eth0 is not None and "UP" in eth0["flags"]:
            raised += 1
            assert eth0["address"] in json.dumps(nft_json("list", "ruleset", netns=node))
        call("DEL")

    assert raised
