# SPDX-License-Identifier: Apache-2.0
"""
The container runtime of a lab node: executes CNI programs, as the specification says.

The program runs in the node's network namespace, which is what the host's namespace
is to a real one; environment, standard input and working directory are as there.

Source: CNI specification 1.1.0, section 2; containernetworking/cni pkg/invoke for
what a runtime adds to CNI_ARGS (containerd 1.6, CRI-O 1.28 agree).
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.lab.agents import render_directories
from spanbridge.lab.place import Place
from spanbridge.lab.planned import render_host_local
from spanbridge.lab.topology import MTU_DEFAULT, NODE_BRIDGE, POD_INTERFACE, Lab, Node, Pod
from spanbridge.rtnl import NetNs

CNI_VERSION: Final = "1.0.0"
EXAMPLE_VERSION: Final = "0.3.1"
"""As in the example of the product's documentation."""

CHECK_VERSION: Final = "0.4.0"
"""The first with CHECK; its results have the shape of 0.3.1. Source: CNI specification 0.4.0."""

NETNS_DIR: Final = Path("/run/netns")
POD_NAMESPACE: Final = "openshift-cnv"
CALL_TIMEOUT_S: Final = 120.0
"""A program that is still running then is killed; it takes 0.1 s, in an emulated guest a few."""

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def render_example(lab: Lab, vlan: int) -> dict[str, object]:
    """
    Make the configuration that the documentation of OpenShift Virtualization prints.

    As printed, but for ``bridge``: without it the plugin would make a bridge of its own,
    from which no uplink leads to the other nodes. ``mtu`` is there when asked for.
    """
    network: dict[str, object] = {
        "cniVersion": EXAMPLE_VERSION,
        "name": "bridge-net",
        "type": "bridge",
        "bridge": NODE_BRIDGE,
        "isGateway": True,
        "vlan": vlan,
        "ipam": {"type": "dhcp"},
    }
    return network if lab.mtu == MTU_DEFAULT else network | {"mtu": lab.mtu}


def render_network(lab: Lab, pod: Pod, *, ipam_dir: Path) -> dict[str, object]:
    """Make the configuration of the network that ``pod`` attaches to, as its node has it."""
    if lab.dhcp is not None and pod.vlan is not None:
        return render_example(lab, pod.vlan)
    network: dict[str, object] = {
        "cniVersion": CNI_VERSION,
        "name": pod.network,
        "type": "bridge",
        "bridge": pod.bridge,
        "mtu": lab.mtu,
        "ipam": {
            "type": "host-local",
            "ranges": [
                [
                    {
                        "subnet": str(lab.subnet),
                        "rangeStart": str(pod.addresses.first),
                        "rangeEnd": str(pod.addresses.last),
                    }
                ]
            ],
            "dataDir": str(ipam_dir),
        },
    }
    if pod.vlan is not None:
        network |= {"vlan": pod.vlan, "preserveDefaultVlan": False}
    return network


def render_environment(
    verb: str, pod: Pod, *, bin_dir: Path, directories: Mapping[str, str]
) -> dict[str, str]:
    """
    Make the environment of one call.

    Args:
        verb: What is wanted.
        pod: For which pod.
        bin_dir: Where the programs are.
        directories: Variables by which the programs find the files of their node.
    """
    args = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": POD_NAMESPACE,
        "K8S_POD_NAME": pod.name,
        "K8S_POD_INFRA_CONTAINER_ID": pod.container_id,
    }
    return {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_NETNS": str(NETNS_DIR / pod.netns),
        "CNI_IFNAME": POD_INTERFACE,
        "CNI_PATH": str(bin_dir),
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in args.items()),
        "PATH": _PATH,
        **directories,
    }


@dataclass(frozen=True, slots=True)
class Runtime:
    """
    Attaches pods.

    Attributes:
        lab: The plan.
        place: Where results and the nodes' files are kept.
        bin_dir: Where the CNI programs lie.
    """

    lab: Lab
    place: Place
    bin_dir: Path

    @property
    def has_agents(self) -> bool:
        """Whether an agent runs on every node: it is ours, and so are the programs."""
        return self.bin_dir == self.place.bin_dir

    def add(self, node: Node, pod: Pod) -> None:
        """
        Attach ``pod`` and keep the result.

        Raises:
            NodeError: The program failed; its own message is passed on.
        """
        output = self._call("ADD", node, pod, self._network(node, pod))
        file = self.place.result_file(pod)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(_parse_output(output)).encode())

    def check(self, node: Node, pod: Pod) -> None:
        """
        Have the program compare what it made with what is there.

        Raises:
            NodeError: Something differs, or the pod was never attached.
        """
        result = self._result(pod)
        if result is None:
            raise NodeError(f"cannot check {pod.name} on {node.name}: it is not attached")
        network = self._network(node, pod)
        if network["cniVersion"] == EXAMPLE_VERSION:
            network["cniVersion"] = CHECK_VERSION
        self._call("CHECK", node, pod, network | {"prevResult": result})

    def delete(self, node: Node, pod: Pod) -> None:
        """
        Detach ``pod``; detaching what is not attached is fine.

        Raises:
            NodeError: The program failed.
        """
        result = self._result(pod)
        earlier = {"prevResult": result} if result is not None else {}
        self._call("DEL", node, pod, self._network(node, pod) | earlier)
        self.place.result_file(pod).unlink(missing_ok=True)

    def _network(self, node: Node, pod: Pod) -> dict[str, object]:
        ipam_dir = self.place.node_dir(node) / "networks"
        if not pod.config:
            return render_network(self.lab, pod, ipam_dir=ipam_dir)
        network: dict[str, object] = json.loads(pod.config)
        return network | {"ipam": self._planned_ipam(node, pod)}

    def _planned_ipam(self, node: Node, pod: Pod) -> dict[str, object]:
        ipam: dict[str, Any] = json.loads(pod.config)["ipam"]
        shared = ipam["type"] == "whereabouts"
        home = self.place.cluster_dir(node) if shared else self.place.node_dir(node)
        return render_host_local(ipam, str(home / "networks"))

    def _result(self, pod: Pod) -> object | None:
        try:
            found: object = json.loads(self.place.result_file(pod).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return found

    def _call(self, verb: str, node: Node, pod: Pod, network: Mapping[str, object]) -> bytes:
        environment = render_environment(
            verb,
            pod,
            bin_dir=self.bin_dir,
            directories=render_directories(self.place, node),
        )
        subject = f"cannot run {verb} for {pod.name} on {node.name}"
        try:
            with NetNs.open(node.netns) as netns:
                done = netns.run(
                    lambda: _execute(self.bin_dir / "bridge", environment, json.dumps(network))
                )
        except subprocess.TimeoutExpired as error:
            raise NodeError(f"{subject}: it took more than {CALL_TIMEOUT_S:.0f} s") from error
        except OSError as error:
            raise NodeError(f"{subject}: {error}") from error
        if done.returncode != 0:
            raise NodeError(f"{subject}: {_failure(done)}")
        return done.stdout


def _execute(
    program: Path, environment: Mapping[str, str], stdin: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the program; a child begins in the namespaces of the thread that starts it."""
    return subprocess.run(
        [program],
        env=environment,
        cwd="/",
        input=stdin.encode(),
        capture_output=True,
        timeout=CALL_TIMEOUT_S,
        check=False,
        # Ctrl-C on the terminal is for the lab: a program cut short would have to be repeated.
        start_new_session=True,
    )


def _parse_output(output: bytes) -> dict[str, Any]:
    try:
        document = json.loads(output)
    except ValueError as error:
        raise NodeError(f"cannot read the result of ADD: {output[:200]!r}") from error
    if not isinstance(document, dict):
        raise NodeError(f"cannot read the result of ADD: {output[:200]!r}")
    return document


def _failure(done: subprocess.CompletedProcess[bytes]) -> str:
    """Tell what went wrong, from the error document or else from what there is."""
    try:
        document = _parse_output(done.stdout)
    except NodeError:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        return f"exit status {done.returncode}, {said[-500:] or 'no output'}"
    message = f"{document.get('msg')} (code {document.get('code')})"
    details = document.get("details")
    return f"{message}; {details}" if details else message
