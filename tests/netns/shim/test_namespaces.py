# SPDX-License-Identifier: Apache-2.0
"""The namespaces that the shim hands to the agent, on a node and for a pod."""

import os
import socket
import threading
from pathlib import Path

from spanbridge.cni.install import built_shim, install
from spanbridge.testing.plugin import Netns
from spanbridge.testing.runtime import Cni


def test_the_agent_gets_the_nodes_namespace_and_the_pods(
    cni: Cni, node: Netns, pod: Netns, tmp_path: Path
) -> None:
    inodes: list[int] = []
    shim = built_shim()
    assert shim is not None
    install(tmp_path / "bin", shim=shim, oneshot=False)

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 4)
            inodes.extend(os.fstat(descriptor).st_ino for descriptor in descriptors)
            connection.sendall(b"SB\x01\0" + bytes(8))

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = tmp_path / "agent.sock"
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        runtime = Cni(tmp_path / "bin", cni.run_dir, node)
        runtime.call("DEL", {}, pod, env={"SPANBRIDGE_SOCKET": str(path)})
        thread.join()

    assert inodes == [netns.path.stat().st_ino for netns in (node, pod)]
