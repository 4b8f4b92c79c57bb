# SPDX-License-Identifier: Apache-2.0
"""The service as the units run it: its limits, its restarts, the socket that outlives it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from .conftest import Systemd
else:
    Systemd = Any

PROJECT: Final = Path(__file__).parents[3]
UNITS: Final = "spanbridge-agent.socket spanbridge-agent.service"
INSTALL: Final = f"""\
ln -s {PROJECT}/.venv/bin/spanbridge /usr/local/bin/spanbridge
spanbridge cni install --no-oneshot --bin-dir /opt/cni/bin
cp {PROJECT}/deploy/systemd/spanbridge-agent.* /etc/systemd/system/
systemctl daemon-reload
systemctl enable --now {UNITS}
"""
UNINSTALL: Final = f"""\
systemctl disable --now {UNITS}
rm -r /usr/local/bin/spanbridge /opt/cni /etc/systemd/system/spanbridge-agent.*
systemctl daemon-reload
"""
LAN: Final = """\
ip netns add lan
ip link add br-lan up type bridge
ip link add up0 up master br-lan type veth peer name eth0 netns lan
ip -n lan addr add 10.9.0.1/24 dev eth0
ip -n lan link set eth0 up
ip netns exec lan dnsmasq --conf-file=/dev/null --port=0 --interface=eth0 --bind-interfaces \\
    --user=root --no-ping --dhcp-authoritative --dhcp-range=10.9.0.50,10.9.0.60,120 \\
    --dhcp-leasefile=/run/lan.leases --pid-file=/run/lan.pid
"""
LAN_GONE: Final = "kill $(cat /run/lan.pid); ip netns del lan; ip link del br-lan"
# A plugin of somebody else that looks into the sandbox with the tools of the node.
THEIRS: Final = """\
#!/bin/sh
if [ "$CNI_COMMAND" = ADD ]; then
    ip netns exec "${CNI_NETNS##*/}" ip link show dev "$CNI_IFNAME" > /var/lib/theirs || exit 1
    echo '{"cniVersion": "1.1.0", "ips": [{"address": "10.7.0.9/24"}]}'
fi
"""
FULL: Final = {"isDefaultGateway": True, "ipMasq": True, "macspoofchk": True}


@pytest.fixture(scope="module")
def service(systemd: Systemd) -> Iterator[Systemd]:
    """The systemd, with our units enabled and started."""
    systemd.run(INSTALL)
    yield systemd
    systemd.run(UNINSTALL)


@pytest.fixture
def sandbox(service: Systemd) -> Iterator[Systemd]:
    """The same, with a sandbox `pod` in it."""
    service.run("ip netns add pod")
    yield service
    service.call("ip netns del pod")


def _call(verb: str, **fields: Any) -> str:  # noqa: ANN401  # JSON
    """The shell lines of one call."""
    base = {"cniVersion": "1.1.0", "name": "net1", "type": "bridge", "bridge": "br0"}
    names = "CNI_CONTAINERID=c1 CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin"
    program = f"{names} CNI_COMMAND={verb} /opt/cni/bin/bridge"
    return f"{program} <<'END'\n{json.dumps(base | fields)}\nEND\n"


def _host_local() -> dict[str, str]:
    return {"type": "host-local", "subnet": "10.7.0.0/24"}


def test_everything_that_add_does_is_allowed(sandbox: Systemd) -> None:
    fields: dict[str, Any] = FULL | {"mtu": 1400, "ipam": _host_local()}
    result = json.loads(sandbox.run(_call("ADD", **fields)))

    assert sandbox.run(_call("CHECK", prevResult=result, **fields)) == ""
    assert "1 received" in sandbox.run("ip netns exec pod ping -c 1 10.7.0.1")
    sandbox.run(_call("DEL", **fields))
    assert "10.7.0.2" not in sandbox.run("nft list ruleset")


def test_leases_are_allowed_and_given_back(sandbox: Systemd) -> None:
    fields = {"bridge": "br-lan", "ipam": {"type": "dhcp"}}
    sandbox.run(LAN)
    result = json.loads(sandbox.run(_call("ADD", **fields)))
    given = sandbox.run("cat /run/lan.leases")
    pinged = sandbox.run("ip netns exec pod ping -c 1 10.9.0.1")
    sandbox.run(_call("DEL", **fields))
    left = sandbox.run(f"sleep 0.5; cat /run/lan.leases; {LAN_GONE}")

    assert result["ips"][0]["address"].partition("/")[0] in given
    assert "1 received" in pinged
    assert left == ""


def test_a_plugin_of_somebody_else_may_enter_the_sandbox_and_write(sandbox: Systemd) -> None:
    sandbox.run(f"cat > /opt/cni/bin/theirs <<'END'\n{THEIRS}END\nchmod +x /opt/cni/bin/theirs")
    fields = {"ipam": {"type": "theirs"}}

    assert "10.7.0.9/24" in sandbox.run(_call("ADD", **fields))
    assert "eth0" in sandbox.run("cat /var/lib/theirs")
    sandbox.run(_call("DEL", **fields))


def test_a_killed_agent_is_started_again_and_knows_its_attachments(sandbox: Systemd) -> None:
    fields = {"ipam": _host_local()}
    sandbox.run(_call("ADD", **fields))
    sandbox.run("systemctl kill --signal=KILL spanbridge-agent.service")
    known = json.loads(sandbox.run("spanbridge agent attachments --format json"))
    restarts = sandbox.run("systemctl show --value -p NRestarts spanbridge-agent.service")
    sandbox.run(_call("DEL", **fields))

    assert [each["containerId"] for each in known] == ["c1"]
    assert int(restarts) == 1
    assert json.loads(sandbox.run("spanbridge agent attachments --format json")) == []


def test_a_call_starts_an_agent_that_was_stopped(sandbox: Systemd) -> None:
    sandbox.run("systemctl stop spanbridge-agent.service")
    inactive = sandbox.call("systemctl is-active spanbridge-agent.service").stdout.strip()

    assert json.loads(sandbox.run(_call("ADD")))["interfaces"]
    assert inactive == "inactive"
    assert sandbox.run("systemctl is-active spanbridge-agent.service").strip() == "active"
    sandbox.run(_call("DEL"))


def test_calls_that_come_during_a_restart_wait_for_it(sandbox: Systemd) -> None:
    sandbox.run("systemctl restart --no-block spanbridge-agent.service")

    assert json.loads(sandbox.run(_call("ADD")))["interfaces"]
    sandbox.run(_call("DEL"))
