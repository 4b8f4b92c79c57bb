# SPDX-License-Identifier: Apache-2.0
"""Taking one step: a program in a namespace, or something done to a part of the lab."""

import base64
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.lab.agents import agent_daemon, start_agents
from spanbridge.lab.daemons import find_daemon, kill
from spanbridge.lab.faults.recipes import Kind, Step
from spanbridge.lab.runtime import Runtime
from spanbridge.lab.topology import Node
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
    Kind.FILE: _file,
}
