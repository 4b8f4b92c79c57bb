# SPDX-License-Identifier: Apache-2.0
"""Taking one step: a program in a namespace, or something done to a part of the lab."""

import base64
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.lab import trust
from spanbridge.lab.agents import agent_daemon, start_agents
from spanbridge.lab.daemons import find_daemon, kill
from spanbridge.lab.faults.recipes import Kind, Step
from spanbridge.lab.kubevirt.handler import HandlerSettings
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.standin.launching import await_standin, launch_standins
from spanbridge.lab.standin.paths import handler_daemon, handler_socket
from spanbridge.lab.standin.standins import advertise
from spanbridge.lab.topology import Node, sync_pods
from spanbridge.rtnl import NetNs, create_named_netns, delete_named_netns, named_netns

TIMEOUT_S: Final = 60.0
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run_in(netns: str, words: Sequence[str], *, text: str = "") -> str:
    """
    Run a program in a named namespace and return what it wrote.

    Raises:
        NodeError: There is no such namespace or program, or it failed; its own words are
            passed on.
    """
    done = _execute(netns, words, text)
    if done.returncode:
        raise _failure(netns, words, done)
    return done.stdout


def _execute(netns: str, words: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
    try:
        with NetNs.open(netns) as entered:
            return _execute_in(entered, words, text)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"cannot run {words[0]} in {netns}: {error}") from error


def _execute_in(netns: NetNs, words: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
    return netns.run(
        lambda: subprocess.run(
            words,
            input=text,
            env={"PATH": _PATH, "LANG": "C.UTF-8"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            # A command that is cut short would leave half of a fault.
            start_new_session=True,
        )
    )


def _failure(netns: str, words: Sequence[str], done: subprocess.CompletedProcess[str]) -> NodeError:
    said = (done.stderr or done.stdout).strip()[-300:] or f"exit status {done.returncode}"
    return NodeError(f"cannot run `{' '.join(words)}` in {netns}: {said}")


def works_here(line: str) -> bool:
    """Try a command line in a namespace that ends with the trial."""
    with NetNs.empty() as netns:
        try:
            done = _execute_in(netns, shlex.split(line), "")
        except OSError:
            return False
    return done.returncode == 0


def take(runtime: Runtime, step: Step) -> None:
    """
    Take a step.

    Raises:
        NodeError: It did not succeed.
    """
    _TAKE[step.kind](runtime, step)


def _run(_: Runtime, step: Step) -> None:
    done = _execute(step.where, step.words, step.text)
    said = done.stderr + done.stdout
    if done.returncode and not any(each.lower() in said.lower() for each in step.already):
        raise _failure(step.where, step.words, done)


def _netns(_: Runtime, step: Step) -> None:
    there = step.where in named_netns()
    if "delete" in step.words and there:
        delete_named_netns(step.where)
    elif "add" in step.words and not there:
        create_named_netns(step.where)


def _node(runtime: Runtime, name: str) -> Node:
    for node in runtime.lab.nodes:
        if node.name == name:
            return node
    raise NodeError(f"cannot find the node {name}: the lab has none of that name")


def _agent(runtime: Runtime, step: Step) -> None:
    node = _node(runtime, step.where)
    runs = find_daemon(agent_daemon(runtime.place, node)) is not None
    if "kill" in step.words and runs:
        kill(agent_daemon(runtime.place, node))
    elif "start" in step.words and not runs:
        start_agents(runtime.place, [node])


def _pod(runtime: Runtime, step: Step) -> None:
    node = _node(runtime, step.where)
    if "detach" in step.words:
        runtime.delete(node, node.handler)
    elif not runtime.place.result_file(node.handler).exists():
        runtime.add(node, node.handler)


def _part(runtime: Runtime, step: Step) -> None:
    verb, *arguments = step.words
    _PARTS[verb](runtime, step.where, *arguments)


def _forget(runtime: Runtime, cluster: str, other: str) -> None:
    trust.forget(runtime.place, cluster, other)


def _age(runtime: Runtime, cluster: str) -> None:
    trust.age(runtime.place, [each.name for each in runtime.lab.clusters], cluster)


def _stale(runtime: Runtime, name: str) -> None:
    """Start the virt-handler again with certificates of another authority."""
    node = _node(runtime, name)
    trust.make_stale(runtime.place, node.cluster, name)
    _end_handler(runtime, name)
    _launch_handler(runtime, node, trust.stale_dir(runtime.place, name))


def _end_handler(runtime: Runtime, name: str) -> None:
    daemon = handler_daemon(runtime.place, _node(runtime, name))
    if find_daemon(daemon) is not None:
        kill(daemon)


def _start_handler(runtime: Runtime, name: str) -> None:
    node = _node(runtime, name)
    _launch_handler(runtime, node, trust.trust_dir(runtime.place, node.cluster))
    shutil.rmtree(trust.stale_dir(runtime.place, name), ignore_errors=True)


def _launch_handler(runtime: Runtime, node: Node, certificates: Path) -> None:
    """Start a virt-handler where none runs; without its device it ends at once, as the real one."""
    daemon, control = handler_daemon(runtime.place, node), handler_socket(runtime.place, node)
    if find_daemon(daemon) is None:
        launch_standins([(daemon, HandlerSettings(str(control), str(certificates)))])
        await_standin(daemon, control)


def _advertise(runtime: Runtime, cluster: str) -> None:
    standby = next(
        each for each in sync_pods(runtime.lab) if each.cluster == cluster and not each.leader
    )
    advertise(runtime.place, standby)


_PARTS: Final[Mapping[str, Callable[..., None]]] = {
    "forget": _forget,
    "age": _age,
    "stale": _stale,
    "end-handler": _end_handler,
    "start-handler": _start_handler,
    "advertise-standby": _advertise,
}
"""By verb: what is done with a node or cluster."""


def _file(runtime: Runtime, step: Step) -> None:
    path = runtime.place.directory / step.where
    if "remove" in step.words:
        path.unlink(missing_ok=True)
        return
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, base64.b64decode(step.text), mode=mode)


_TAKE: Final[Mapping[Kind, Callable[[Runtime, Step], None]]] = {
    Kind.RUN: _run,
    Kind.NETNS: _netns,
    Kind.AGENT: _agent,
    Kind.POD: _pod,
    Kind.PART: _part,
    Kind.FILE: _file,
}
