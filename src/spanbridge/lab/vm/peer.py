# SPDX-License-Identifier: Apache-2.0
"""
The other end of the guests' TCP sessions: a program of the standard library alone.

Every guest says its name and then a number ten times a second; each line is sent back.
Whoever connects to the unix socket gets a JSON object: for each guest how many sessions it
began, from which address and port the last came, how many lines it brought, and whether it
is open.

Run as ``python -I -S peer.py ADDRESS PORT SOCKET``: starting Python takes long in an
emulated guest, and this way a quarter of it.
"""

import json
import socket
import sys
from _thread import start_new_thread

guests: dict[str, dict[str, object]] = {}


def converse(conversation: socket.socket) -> None:
    """Send back what a guest says, and count it."""
    host, port = conversation.getpeername()
    with conversation, conversation.makefile("rb") as lines:
        guest = lines.readline().decode(errors="replace").strip()
        sessions = int(str(guests.get(guest, {}).get("sessions", 0))) + 1
        mine: dict[str, object] = {"sessions": sessions, "source": f"{host}:{port}"}
        guests[guest] = mine
        mine |= {"open": True, "lines": 0}
        try:
            for number, line in enumerate(lines, start=1):
                mine["lines"] = number
                conversation.sendall(line)
        except OSError:
            pass
        finally:
            mine["open"] = False


def tell(path: str) -> None:
    """Answer whoever asks how the sessions stand."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        while True:
            with listening.accept()[0] as asking:
                asking.sendall(json.dumps(guests).encode())


def serve(address: str, port: int, path: str) -> None:
    """Serve until we are ended."""
    listening = socket.create_server((address, port))
    start_new_thread(tell, (path,))
    while True:
        conversation, _ = listening.accept()
        start_new_thread(converse, (conversation,))


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
