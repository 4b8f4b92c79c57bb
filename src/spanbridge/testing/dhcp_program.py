# SPDX-License-Identifier: Apache-2.0
"""
A DHCP server that misbehaves on request: a program for a network namespace.

    python -IS dhcp_program.py INTERFACE LOG SETTINGS

Needs nothing but the standard library, and nothing of ours: it is an oracle. SETTINGS is
a JSON object, see ``DEFAULTS``; a further object on a line of standard input changes
them and is answered with a line ``ok``. Each message from a client becomes one JSON
line in LOG. Kinds of messages are ``discover``, ``selecting``, ``rebooting``,
``renewing``, ``rebinding`` (these four are REQUESTs), ``release`` and ``decline``.
"""

import json
import random
import select
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

DEFAULTS: dict[str, Any] = {
    # Option 54 and source address of answers.
    "server_id": "10.9.0.1",
    # Addresses to give, in order of preference.
    "pool": ["10.9.0.10", "10.9.0.11", "10.9.0.12"],
    "mask": "255.255.255.0",
    "router": "10.9.0.1",
    # Seconds; T1 and T2 are left out where null.
    "lease_s": 3600,
    "t1_s": None,
    "t2_s": None,
    # Kinds of messages that are not answered.
    "ignore": [],
    # Kinds of REQUESTs that are refused, and with which text.
    "nak": [],
    "text": "",
    # Seconds to wait before each answer.
    "delay_s": 0,
    # Address to acknowledge instead of the one that was asked for; null: the same.
    "move_to": None,
    # Damaged frames to send before the next answer, once.
    "malformed": 0,
}
NO_ADDRESS = "0.0.0.0"  # noqa: S104  # nothing is bound to it
COOKIE = b"\x63\x82\x53\x63"
KINDS = {1: "discover", 4: "decline", 7: "release"}
Message = dict[str, Any]


def _checksum(data: bytes) -> int:
    data += b"\0" * (len(data) & 1)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _frame(src_mac: bytes, dst_mac: bytes, addresses: tuple[str, str], payload: bytes) -> bytes:
    src, dst = map(socket.inet_aton, addresses)
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", 67, 68, length, 0)
    pseudo = src + dst + struct.pack("!BBH", 0, 17, length)
    total = _checksum(pseudo + udp + payload) or 0xFFFF
    udp = struct.pack("!HHHH", 67, 68, length, total)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, 17, 0, src, dst)
    ip = ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:]
    return dst_mac + src_mac + b"\x08\x00" + ip + udp + payload


def _options_of(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while data and data[0] != 255:
        if data[0] == 0:
            data = data[1:]
            continue
        code, length = data[0], data[1]
        found[code] = found.get(code, b"") + data[2 : 2 + length]
        data = data[2 + length :]
    return found


def _read(data: bytes) -> Message | None:
    """Take a client's message out of a frame."""
    if data[12:14] != b"\x08\x00" or data[23] != 17:
        return None
    start = 14 + (data[14] & 15) * 4
    if data[start + 2 : start + 4] != b"\x00\x43":
        return None
    bootp = data[start + 8 :]
    options = _options_of(bootp[240:])
    message: Message = {
        "time": time.time(),
        "type": options.get(53, b"\0")[0],
        "xid": int.from_bytes(bootp[4:8], "big"),
        "secs": int.from_bytes(bootp[8:10], "big"),
        "flags": int.from_bytes(bootp[10:12], "big"),
        "ciaddr": socket.inet_ntoa(bootp[12:16]),
        "chaddr": bootp[28:34].hex(":"),
        "src_mac": data[6:12].hex(":"),
        "dst_mac": data[0:6].hex(":"),
        "src_ip": socket.inet_ntoa(data[26:30]),
        "dst_ip": socket.inet_ntoa(data[30:34]),
        "requested": socket.inet_ntoa(options[50]) if 50 in options else "",
        "server_id": socket.inet_ntoa(options[54]) if 54 in options else "",
        "client_id": options.get(61, b"").hex(),
    }
    message["kind"] = KINDS.get(message["type"]) or _request_kind(message)
    return message


def _request_kind(message: Message) -> str:
    if message["server_id"]:
        return "selecting"
    if message["requested"]:
        return "rebooting"
    return "rebinding" if message["dst_ip"] == "255.255.255.255" else "renewing"


class Server:
    """Who has what, and how to answer."""

    def __init__(self, interface: str, log: Path, settings: dict[str, Any]) -> None:
        self.settings = DEFAULTS | settings
        self.given: dict[str, str] = {}
        self.declined: set[str] = set()
        self.log = log.open("a")
        self.raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.raw.bind((interface, 0x0800))
        self.mac = self.raw.getsockname()[4]
        # Else the kernel answers a datagram for port 67 with "port unreachable".
        self.port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port.bind(("", 67))
        self.random = random.Random(2131)  # noqa: S311  # the same frames every time

    def run(self) -> None:
        """Serve until standard input ends."""
        print("ready", flush=True)  # noqa: T201  # whoever started it waits for this
        while True:
            ready, _, _ = select.select([self.raw, sys.stdin, self.port], [], [])
            if self.raw in ready:
                self._hear()
            if self.port in ready:
                self.port.recv(2048)
            if sys.stdin in ready:
                line = sys.stdin.readline()
                if not line:
                    return
                self.settings.update(json.loads(line))
                print("ok", flush=True)  # noqa: T201

    def _hear(self) -> None:
        data, address = self.raw.recvfrom(2048)
        message = _read(data) if address[2] != socket.PACKET_OUTGOING else None
        if message is None:
            return
        self.log.write(json.dumps(message) + "\n")
        self.log.flush()
        kind, chaddr = message["kind"], message["chaddr"]
        if kind == "decline":
            self.declined.add(message["requested"])
            self.given.pop(chaddr, None)
        elif kind == "release":
            self.given.pop(chaddr, None)
        elif kind not in self.settings["ignore"]:
            self._answer(message)

    def _choose(self, chaddr: str) -> str | None:
        if chaddr in self.given:
            return self.given[chaddr]
        taken = self.declined | set(self.given.values())
        return next((each for each in self.settings["pool"] if each not in taken), None)

    def _answer(self, message: Message) -> None:
        kind, chaddr = message["kind"], message["chaddr"]
        if kind == "discover":
            address, kind_of_answer = self._choose(chaddr), 2
        elif kind in self.settings["nak"]:
            address, kind_of_answer = None, 6
            self.given.pop(chaddr, None)  # what is refused is not known any more
        else:
            address, kind_of_answer = message["requested"] or message["ciaddr"], 5
            if message["kind"] != "selecting" and self.settings["move_to"]:
                address = self.settings["move_to"]
        if kind_of_answer == 2 and address is None:
            return
        if kind == "selecting" and message["server_id"] != self.settings["server_id"]:
            return  # the client took another server's offer
        if address:
            self.given[chaddr] = address
        self._flood(message)
        if self.settings["delay_s"]:
            time.sleep(self.settings["delay_s"])
        self._send(message, kind_of_answer, address or NO_ADDRESS)

    def _send(self, message: Message, kind: int, address: str) -> None:
        aton = socket.inet_aton
        options = bytes([53, 1, kind, 54, 4]) + aton(self.settings["server_id"])
        if kind == 6:
            text = self.settings["text"].encode()
            options += bytes([56, len(text)]) + text if text else b""
        else:
            options += bytes([51, 4]) + struct.pack("!I", self.settings["lease_s"])
            options += bytes([1, 4]) + aton(self.settings["mask"])
            options += bytes([3, 4]) + aton(self.settings["router"])
            for code, key in ((58, "t1_s"), (59, "t2_s")):
                if self.settings[key] is not None:
                    options += bytes([code, 4]) + struct.pack("!I", self.settings[key])
        # A NAK is broadcast; a client that has an address is answered there. RFC 2131 4.1.
        target, mac = address, bytes.fromhex(message["chaddr"].replace(":", ""))
        if message["ciaddr"] != NO_ADDRESS:
            target = message["ciaddr"]
        if kind == 6 or message["flags"] & 0x8000:
            target, mac = "255.255.255.255", b"\xff" * 6
        payload = self._bootp(message, address, options)
        self.raw.send(_frame(self.mac, mac, (self.settings["server_id"], target), payload))

    def _bootp(self, message: Message, address: str, options: bytes) -> bytes:
        head = struct.pack("!BBBBIHH", 2, 1, 6, 0, message["xid"], 0, message["flags"])
        head += b"\0" * 4 + socket.inet_aton(address) + b"\0" * 8
        head += bytes.fromhex(message["chaddr"].replace(":", "")) + b"\0" * 202
        return (head + COOKIE + options + b"\xff").ljust(300, b"\0")

    def _flood(self, message: Message) -> None:
        """Send damaged frames; every one passes a filter for UDP port 68."""
        count, self.settings["malformed"] = self.settings["malformed"], 0
        options = bytes([53, 1, 2, 54, 4]) + socket.inet_aton(self.settings["server_id"])
        good = _frame(
            self.mac,
            bytes.fromhex(message["chaddr"].replace(":", "")),
            (self.settings["server_id"], "10.9.0.99"),
            self._bootp(message, "10.9.0.99", options),
        )
        for number in range(count):
            try:
                self.raw.send(self._damage(good, number))
            except OSError:  # the queue is full
                time.sleep(0.001)
            if number % 64 == 0:
                time.sleep(0.001)

    def _damage(self, good: bytes, number: int) -> bytes:
        """Break a frame in one of several ways."""
        spoilt = bytearray(good)
        match number % 8:
            case 0:  # the packet ends before it should
                return bytes(spoilt[: self.random.randrange(38, len(spoilt))])
            case 1:  # the IP length lies
                spoilt[16:18] = self.random.randbytes(2)
            case 2:  # the UDP length lies
                spoilt[38:40] = self.random.randbytes(2)
            case 3:  # an option ends beyond the end
                at = 14 + 28 + 240
                spoilt[at:] = bytes([self.random.randrange(1, 254), 255]) * 4
            case 4:  # no magic cookie
                spoilt[14 + 28 + 236] ^= 0xFF
            case 5:  # noise where the message should be
                spoilt[42:] = self.random.randbytes(len(spoilt) - 42)
            case 6:  # one wrong byte, so a wrong checksum
                spoilt[self.random.randrange(42, len(spoilt))] ^= 0x5A
            case _:  # an OFFER of no address, without a lease time
                spoilt[14 + 28 + 16 : 14 + 28 + 20] = b"\0\0\0\0"
        return bytes(spoilt)


if __name__ == "__main__":
    Server(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])).run()
