# SPDX-License-Identifier: Apache-2.0
"""
The measurements.

Contenders take turns, one call each, and change the order every time: whatever else the
machine does hits all of them alike, and a ratio is made of neighbours.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.contenders import Programs, running_agent
from bench.figures import FLOOR, OURS, Case, Spread, Target, spread_of
from bench.floor import Floor
from bench.ground import Network, Pod, fill_store, pods, remove_bridge, write_conf
from bench.growth import CLUSTERS, NODES
from bench.launch import Run, time_call, time_run, time_runs

WIDTH: Final = 16
"""Calls at a time, where many are made."""

FILLED: Final = (0.01, 0.50, 0.95)
"""Shares of a /16 that are taken when an allocation is timed."""

FLAT: Final = 1.5
"""An allocation in a full range may take so many times what it takes in an empty one."""

_TRUE: Final = Path("/bin/true")
_AGENT_DOWN_STATUS: Final = 1


@dataclass(frozen=True, slots=True)
class Sizes:
    """
    How much is measured.

    Attributes:
        pods: Sandboxes that get attached one after the other.
        rounds: How often.
        many: Attachments that are made `WIDTH` at a time.
        many_rounds: How often.
        memory: Attachments that the agent's memory is read at.
        starts: Starts of a program, where only its start is timed.
        allocations: Addresses taken at each filling.
        filled: Shares of a /16 that are taken.
        clusters: Clusters that are planned and linted at a time.
        nodes: Nodes in each of them.
    """

    pods: int = 50
    rounds: int = 3
    many: int = 100
    many_rounds: int = 5
    memory: int = 1000
    starts: int = 60
    allocations: int = 15
    filled: tuple[float, ...] = FILLED
    clusters: tuple[int, ...] = CLUSTERS
    nodes: int = NODES


QUICK: Final = Sizes(
    pods=3,
    rounds=1,
    many=4,
    many_rounds=1,
    memory=4,
    starts=3,
    allocations=2,
    filled=(0.01,),
    clusters=(1, 2),
    nodes=3,
)
"""Enough to see that everything works."""


@dataclass(frozen=True, slots=True)
class Bed:
    """
    What every measurement needs.

    Attributes:
        place: Directory for files, on a file system in memory.
        sizes: How much is measured.
        references: Reference programs, the most important first.
        ours: Our programs, as on a node with an agent.
    """

    place: Path
    sizes: Sizes
    references: tuple[Programs, ...]
    ours: Programs

    @property
    def everybody(self) -> tuple[Programs, ...]:
        """All contenders that are programs."""
        return (*self.references, self.ours)

    @property
    def rivals(self) -> tuple[Programs, ...]:
        """The reference that ratios are about, and ours."""
        return (*self.references[:1], self.ours)

    def network(self, stack: ExitStack, programs: Programs, count: int, **fields: Any) -> Network:  # noqa: ANN401  # JSON
        """Make a contender's network with as many sandboxes; all of it ends with ``stack``."""
        number = len(self.everybody) if programs.key == OURS.key else self._number(programs)
        place = self.place / programs.key
        (place / "out").mkdir(parents=True, exist_ok=True)
        name = f"bench-{number}"
        conf = write_conf(place, name, f"br-{number}", f"10.{80 + number}.0.0/16", **fields)
        stack.callback(remove_bridge, f"br-{number}")
        return Network(programs, place, conf, stack.enter_context(pods(f"pod{number}", count)))

    def _number(self, programs: Programs) -> int:
        return [each.key for each in self.everybody].index(programs.key)


def _turns(networks: Sequence[Network], number: int) -> list[Network]:
    """Whose turn it is: another one begins every time."""
    first = number % len(networks)
    return [*networks[first:], *networks[:first]]


# ---------------------------------------------------------------- one by one


def one_by_one(
    bed: Bed,
    key: str,
    title: str,
    targets: tuple[Target, Target],
    **fields: Any,  # noqa: ANN401  # JSON
) -> list[Case]:
    """ADD for every sandbox, then DEL; the kernel's floor takes its turn too."""
    adds = Case(f"add{key}", f"ADD, {title}", target=targets[0])
    dels = Case(f"del{key}", f"DEL, {title}", target=targets[1])
    with ExitStack() as stack:
        count = bed.sizes.pods
        networks = [bed.network(stack, each, count, **fields) for each in bed.everybody]
        bare = stack.enter_context(pods("bare", count))
        floor = stack.enter_context(contextlib.closing(Floor()))
        for _ in range(bed.sizes.rounds):
            for number in range(count):
                adds.add(FLOOR, time_call(partial(floor.add, number + 1, bare[number].path)))
                for each in _turns(networks, number):
                    adds.add(each.programs.contender, time_run(each.run("ADD", each.pods[number])))
            for number in range(count):
                dels.add(FLOOR, time_call(partial(floor.delete, bare[number].path)))
                for each in _turns(networks, number):
                    dels.add(each.programs.contender, time_run(each.run("DEL", each.pods[number])))
    return [adds, dels]


# ---------------------------------------------------------------- many at a time


def many_at_once(bed: Bed, targets: tuple[Target, Target]) -> list[Case]:
    """ADD for many sandboxes, some at a time, then DEL; the floor deletes them as one group."""
    count = bed.sizes.many
    how = f"{count} sandboxes, {WIDTH} at a time"
    adds = Case("adds", f"ADD, {how}", target=targets[0])
    dels = Case("dels", f"DEL, {how}", target=targets[1])
    with ExitStack() as stack:
        networks = [bed.network(stack, each, count) for each in bed.rivals]
        bare = stack.enter_context(pods("bare", count))
        floor = stack.enter_context(contextlib.closing(Floor()))
        for number in range(bed.sizes.many_rounds):
            adds.add(FLOOR, time_call(lambda: _add_all(floor, bare)))
            for each in _turns(networks, number):
                adds.add(each.programs.contender, _time_all(each, "ADD"))
            dels.add(FLOOR, time_call(lambda: floor.delete_at_once(range(1, count + 1))))
            for each in _turns(networks, number):
                dels.add(each.programs.contender, _time_all(each, "DEL"))
    dels.remark = "the floor deletes all of them as one group of links"
    return [adds, dels]


def _add_all(floor: Floor, bare: Sequence[Pod]) -> None:
    for number, pod in enumerate(bare, 1):
        floor.add(number, pod.path)


def _time_all(network: Network, verb: str) -> float:
    return time_runs([network.run(verb, pod) for pod in network.pods], width=WIDTH)


# ---------------------------------------------------------------- starts


def launcher(bed: Bed) -> Spread:
    """Time what starting any program takes."""
    run = Run(_TRUE, {}, Path("/dev/null"), bed.place / "true")
    return spread_of([time_run(run) * 1000 for _ in range(bed.sizes.starts)])


def one_shot(bed: Bed, oneshot: Programs) -> list[Case]:
    """ADD and DEL by our program alone, without an agent, beside the reference."""
    without = "without agent"
    adds = Case("add-oneshot", f"ADD, bridge and host-local, {without}")
    dels = Case("del-oneshot", f"DEL, bridge and host-local, {without}")
    with ExitStack() as stack:
        count = max(1, bed.sizes.starts // 3)
        rivals = (*bed.references[:1], oneshot)
        networks = [bed.network(stack, each, count) for each in rivals]
        for case, verb in ((adds, "ADD"), (dels, "DEL")):
            for number in range(count):
                for each in _turns(networks, number):
                    case.add(each.programs.contender, time_run(each.run(verb, each.pods[number])))
    return [adds, dels]


def shim_alone(bed: Bed) -> Case:
    """Time the shim where nobody listens and nothing stands in: it answers error 11."""
    case = Case("shim", "the shim with no agent (error 11)")
    alone = Programs(OURS, bed.ours.bin_dir, {"SPANBRIDGE_SOCKET": str(bed.place / "nobody")})
    with ExitStack() as stack:
        network = bed.network(stack, alone, 1)
        run = network.run("ADD", network.pods[0])
        refused = Run(run.program, run.environ, run.stdin, run.out, status=_AGENT_DOWN_STATUS)
        for _ in range(bed.sizes.starts):
            case.add(OURS, time_run(refused))
    return case


# ---------------------------------------------------------------- memory


def memory(bed: Bed, target: Target) -> list[Case]:
    """Read the memory of an agent of its own while that keeps many attachments."""
    count = bed.sizes.memory
    each_pod = 10
    rss = Case("rss", f"agent, resident at {count} attachments", target=target)
    pss = Case("pss", f"agent, its share of it (PSS) at {count} attachments", target=target)
    place = bed.place / "memory"
    place.mkdir()
    with ExitStack() as stack:
        socket, agent_pid = stack.enter_context(running_agent(place))
        ours = replace(bed.ours, environ={"SPANBRIDGE_SOCKET": str(socket)})
        network = bed.network(stack, ours, -(-count // each_pod))
        places = [(pod, f"eth{n}") for pod in network.pods for n in range(each_pod)][:count]
        before = _memory_mib(agent_pid)
        time_runs([network.run("ADD", pod, ifname=name) for pod, name in places], width=WIDTH)
        after = _memory_mib(agent_pid)
        time_runs([network.run("DEL", pod, ifname=name) for pod, name in places], width=WIDTH)
    rss.figure, pss.figure = after["Rss"], after["Pss"]
    rss.remark = f"before the first: {before['Rss']:.1f} MiB"
    return [rss, pss]


def _memory_mib(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    fields = (line.split() for line in lines if line.endswith("kB"))
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in fields}


# ---------------------------------------------------------------- addresses


def allocation(bed: Bed) -> list[Case]:
    """Take an address in a /16 that is more or less full: the program host-local, called alone."""
    found = [_allocation_at(bed, share) for share in bed.sizes.filled]
    spreads = [each.spread(OURS) for each in found]
    flat = Case("allocation-flat", "address, fullest beside emptiest", target=Target(FLAT, "x"))
    if len(found) > 1 and spreads[0] is not None and spreads[-1] is not None:
        flat.figure = spreads[-1].median / spreads[0].median
    return [*found, flat]


def _allocation_at(bed: Bed, share: float) -> Case:
    case = Case(f"allocation-{share:.0%}", f"address from a /16 that is {share:.0%} full")
    with ExitStack() as stack:
        networks = [bed.network(stack, each, 1) for each in bed.rivals]
        firsts = []
        for each in networks:
            stack.enter_context(_filled(each, share))
            firsts.append(_allocate(each, "first"))
        for number in range(bed.sizes.allocations):
            for each in _turns(networks, number):
                case.add(each.programs.contender, _allocate(each, f"more-{number}"))
    case.remark = f"ours through shim and agent; the first call takes {firsts[-1] * 1000:.0f} ms"
    return case


def _allocate(network: Network, name: str) -> float:
    pod = Pod(name)
    taken = time_run(network.run("ADD", pod, program="host-local"))
    time_run(network.run("DEL", pod, program="host-local"))
    return taken


@contextlib.contextmanager
def _filled(network: Network, share: float) -> Iterator[None]:
    """Fill the store of a network, for a while."""
    directory = network.place / "networks" / network.conf.stem
    _empty(directory)
    fill_store(directory, f"10.{80 + int(network.conf.stem.rpartition('-')[2])}", share)
    try:
        yield
    finally:
        _empty(directory)


def _empty(directory: Path) -> None:
    if directory.is_dir():
        for path in directory.iterdir():
            path.unlink()
        # An index of what was there must not be taken for that of what comes.
        time.sleep(0.01)
        directory.rmdir()
