# SPDX-License-Identifier: Apache-2.0
"""
Faults in a lab over plain bridges: those that need no VLAN, on every kernel.

What they do, and that nothing is left of them, is asked of `ip`, `bridge`, `nft`, `ping`.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from spanbridge.base.errors import InputError, NodeError
from spanbridge.lab.build import find_netns
from spanbridge.lab.faults import ledger
from spanbridge.lab.faults.ledger import clear, inject
from spanbridge.lab.faults.recipes import Step
from spanbridge.lab.faults.records import read_entries
from spanbridge.lab.faults.steps import take
from spanbridge.lab.place import Place
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin import ensure_standins
from spanbridge.lab.topology import IpamKind, LabParameters, Node
from spanbridge.testing.flat_lab import flat_lab
from spanbridge.testing.kernel_state import differences, read_kernel
from spanbridge.testing.plugin import run

CLUSTERS = ("east", "west", "north")
SETTLE_S = 10.0
pytestmark = pytest.mark.timeout(90)  # many programs start one after another


@pytest.fixture(scope="module")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    parameters = LabParameters(CLUSTERS, 2, ipam=IpamKind.HOST_LOCAL)
    with flat_lab(Place(tmp_path_factory.mktemp("lab")), parameters) as runtime:
        ensure_standins(runtime, lambda _: None)
        yield runtime


@pytest.fixture
def runtime(_built: Runtime) -> Iterator[Runtime]:
    """A lab without a fault, before and after."""
    assert read_entries(_built.place) == ()
    yield _built
    clear(_built)


def _same_again(before: dict[str, str]) -> list[str]:
    """Wait until the kernel's state is what it was; tell what is not."""
    deadline = time.monotonic() + SETTLE_S
    while rest := differences(before, read_kernel(find_netns())):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return rest


def _pings(runtime: Runtime, source: str, target: str, *more: str) -> bool:
    """Tell whether the pod of a node reaches that of another."""
    nodes = {each.name: each for each in runtime.lab.nodes}
    for each in (source, target):
        _flush(nodes[each])
    done = subprocess.run(
        [
            *("ip", "netns", "exec", nodes[source].handler.netns, "ping", "-n", "-q"),
            *("-c", "1", "-W", "0.5", *more),
            str(nodes[target].handler.addresses.first),
        ],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def _flush(node: Node) -> None:
    run("ip", "-netns", node.handler.netns, "neigh", "flush", "dev", "migration0")


BIG = ("-M", "do", "-s", "1450")

EFFECTS: dict[str, Callable[[Runtime], bool]] = {
    "no-uplink": lambda lab: not _pings(lab, "east-1", "north-2"),
    "uplink-down": lambda lab: not _pings(lab, "east-1", "north-2"),
    "bridge-down": lambda lab: not _pings(lab, "east-1", "north-2"),
    "uplink-mtu": lambda lab: (
        _pings(lab, "north-2", "east-1") and not _pings(lab, "north-2", "east-1", *BIG)
    ),
    "switch-port-mtu": lambda lab: (
        _pings(lab, "east-1", "north-2") and not _pings(lab, "east-1", "north-2", *BIG)
    ),
    "cluster-cut": lambda lab: (
        _pings(lab, "north-1", "north-2")
        and _pings(lab, "east-1", "west-1")
        and not _pings(lab, "east-2", "north-1")
    ),
    "link-cut": lambda lab: (
        not _pings(lab, "east-2", "west-1")
        and _pings(lab, "east-1", "north-1")
        and _pings(lab, "west-1", "north-1")
    ),
    "one-way-link": lambda lab: not _pings(lab, "west-1", "east-1"),
    "one-way-node": lambda lab: not _pings(lab, "north-2", "north-1"),
    "foreign-macs": lambda lab: not _pings(lab, "north-2", "north-1"),
    "stateful-filter": lambda lab: (
        _pings(lab, "east-1", "north-2") and not _pings(lab, "north-2", "east-1")
    ),
    "tcp-filtered": lambda lab: (
        _pings(lab, "east-1", "west-1") and _connects(lab, "east-1", "west-1") == "timeout"
    ),
    "link-mtu": lambda lab: (
        _pings(lab, "east-1", "west-1")
        and not _pings(lab, "east-1", "west-1", *BIG)
        and _pings(lab, "east-1", "north-1", *BIG)
    ),
    "family-mismatch": lambda lab: _families(lab, "north-2") == ["inet6"],
    "duplicate-between-clusters": lambda lab: (
        _local(lab, "north-2") == [str(lab.lab.nodes[0].handler.addresses.first)]
    ),
    "duplicate-within-cluster": lambda lab: (
        _local(lab, "north-2") == [str(lab.lab.nodes[-2].handler.addresses.first)]
    ),
    "stranger": lambda lab: _owners(lab, "north-2") == 2,
    "wrong-route": lambda lab: _route(lab, "north-2", "east-1") == "eth0",
    "pod-mtu": lambda lab: (
        _pings(lab, "north-2", "east-1") and not _pings(lab, "north-2", "east-1", *BIG)
    ),
}


def _connects(runtime: Runtime, source: str, target: str) -> str:
    """Try a port that nobody listens on: refused where a packet comes through."""
    nodes = {each.name: each for each in runtime.lab.nodes}
    script = (
        "import socket, sys\n"
        "try: socket.create_connection((sys.argv[1], 9), 1)\n"
        "except TimeoutError: print('timeout')\n"
        "except ConnectionRefusedError: print('refused')"
    )
    address = str(nodes[target].handler.addresses.first)
    return run(
        "ip", "netns", "exec", nodes[source].handler.netns, "python3", "-c", script, address
    ).strip()


def _infos(runtime: Runtime, name: str) -> list[dict[str, str]]:
    node = next(each for each in runtime.lab.nodes if each.name == name)
    command = ("ip", "-netns", node.handler.netns, "-j", "address", "show", "dev", "migration0")
    (link,) = json.loads(run(*command, "scope", "global"))
    return [each for each in link["addr_info"] if each]


def _families(runtime: Runtime, name: str) -> list[str]:
    return [each["family"] for each in _infos(runtime, name)]


def _local(runtime: Runtime, name: str) -> list[str]:
    return [each["local"] for each in _infos(runtime, name)]


def _owners(runtime: Runtime, name: str) -> int:
    """Count the MAC addresses that answer for a pod's address."""
    first, last = runtime.lab.nodes[0], next(n for n in runtime.lab.nodes if n.name == name)
    said = run(
        *(
            "ip",
            "netns",
            "exec",
            first.handler.netns,
            "busybox",
            "arping",
            "-b",
            "-c",
            "4",
            "-w",
            "3",
        ),
        *("-I", "migration0", str(last.handler.addresses.first)),
    )
    return len({line.split("[")[1].split("]")[0] for line in said.splitlines() if "[" in line})


def _route(runtime: Runtime, source: str, target: str) -> str:
    nodes = {each.name: each for each in runtime.lab.nodes}
    address = str(nodes[target].handler.addresses.first)
    command = ("ip", "-netns", nodes[source].handler.netns, "-j", "route", "get", address)
    (route,) = json.loads(run(*command))
    return str(route["dev"])


@pytest.mark.parametrize("name", EFFECTS)
def test_a_fault_does_what_it_says_and_is_gone_without_a_trace(runtime: Runtime, name: str) -> None:
    before = read_kernel(find_netns())
    entry = inject(runtime, name)
    struck = EFFECTS[name](runtime)
    (cleared,) = clear(runtime)

    assert struck, entry.done
    assert cleared == entry
    rest = _same_again(before)
    assert not rest, "\n".join(rest)
    assert not EFFECTS[name](runtime)


def test_undoing_what_was_never_done_changes_nothing(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between writing a fault down and making it."""
    before = read_kernel(find_netns())

    def die(_: Runtime, step: Step) -> None:
        raise SystemExit(str(step))

    for name in EFFECTS:
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "take", die)
            patch.setattr(ledger, "_undo", lambda *_: [])
            with pytest.raises(SystemExit):
                inject(runtime, name)
        assert [each.name for each in read_entries(runtime.place)] == [name]
        clear(runtime)
        assert read_entries(runtime.place) == ()
    rest = _same_again(before)
    assert not rest, "\n".join(rest)


def test_two_faults_that_touch_nothing_in_common_come_and_go_apart(runtime: Runtime) -> None:
    before = read_kernel(find_netns())
    inject(runtime, "uplink-down", "east-1")
    inject(runtime, "pod-mtu", "west-1")
    with_both = read_kernel(find_netns())
    clear(runtime, ["uplink-down"])
    with_one = read_kernel(find_netns())

    assert [each.label for each in read_entries(runtime.place)] == ["pod-mtu at west-1"]
    assert differences(before, with_both)
    assert {line.split(":")[0] for line in differences(before, with_one) if ":" in line[:40]}
    clear(runtime)
    rest = _same_again(before)
    assert not rest, "\n".join(rest)


def test_one_fault_at_two_places_is_two_faults(runtime: Runtime) -> None:
    inject(runtime, "one-way-node", "east-1")
    inject(runtime, "one-way-node", "west-1")
    assert [each.at for each in read_entries(runtime.place)] == ["east-1", "west-1"]
    assert len(clear(runtime, ["one-way-node"])) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("uplink-down", "east-1"), ("no-uplink", "east-1")),
        (("link-cut", "east,west"), ("tcp-filtered", "west,east")),
        (("cluster-cut", "north"), ("one-way-link", "north,east")),
        (("duplicate-between-clusters", "north-2"), ("family-mismatch", "east-1")),
        (("wrong-route", "west-2"), ("wrong-route", "west-2")),
    ],
)
def test_a_fault_that_touches_what_another_has_changed_is_refused(
    runtime: Runtime, first: tuple[str, str], second: tuple[str, str]
) -> None:
    inject(runtime, *first)
    before = read_kernel(find_netns())
    with pytest.raises(NodeError, match=f"cannot inject {second[0]} at {second[1]}: ") as caught:
        inject(runtime, *second)
    assert f"lab fault --clear {first[0]}" in caught.value.hint
    assert differences(before, read_kernel(find_netns())) == []


def test_what_failed_in_the_middle_is_taken_back(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_kernel(find_netns())
    took: list[Step] = []

    def fail_late(lab: Runtime, step: Step) -> None:
        if len(took) == 3:
            took.append(step)
            raise NodeError("cannot go on: out of luck")
        took.append(step)
        take(lab, step)

    monkeypatch.setattr(ledger, "take", fail_late)
    with pytest.raises(NodeError, match="out of luck"):
        inject(runtime, "stranger")
    assert read_entries(runtime.place) == ()
    rest = _same_again(before)
    assert not rest, "\n".join(rest)


def test_a_fault_that_the_kernel_cannot_have_is_refused_before_anything_is_done(
    runtime: Runtime,
) -> None:
    trial = ["unshare", "-n", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    before = read_kernel(find_netns())
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        with pytest.raises(NodeError, match=r"cannot inject loss: this kernel has no netem"):
            inject(runtime, "loss")
    else:
        inject(runtime, "loss")
        clear(runtime)
    rest = _same_again(before)
    assert not rest, "\n".join(rest)


def test_a_vlan_cannot_be_taken_from_a_bridge_that_knows_none(runtime: Runtime) -> None:
    with pytest.raises(NodeError, match=r"cannot take a VLAN away .*: it filters no VLANs"):
        inject(runtime, "uplink-without-vlan")
    assert read_entries(runtime.place) == ()


@pytest.mark.parametrize(
    ("name", "at", "said"),
    [
        ("uplink-gone", "", "there is no such fault"),
        ("uplink-down", "south-1", "it strikes a node"),
        ("cluster-cut", "east-1", "it strikes a cluster"),
        ("link-cut", "east", "it strikes two clusters"),
        ("gateway-everywhere", "east-1", "it strikes the whole lab"),
    ],
)
def test_a_fault_or_a_place_that_does_not_exist_is_refused(
    runtime: Runtime, name: str, at: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        inject(runtime, name, at)


def test_clearing_what_is_not_there_names_what_is(runtime: Runtime) -> None:
    inject(runtime, "uplink-down", "east-1")
    with pytest.raises(InputError, match=r"no such fault; it has uplink-down at east-1"):
        clear(runtime, ["pod-mtu"])
    assert len(read_entries(runtime.place)) == 1


def test_a_fault_says_which_commands_made_it(runtime: Runtime) -> None:
    entry = inject(runtime, "uplink-down", "east-1")
    assert entry.done == ("on east-1: ip link set dev eth1 down",)
