# SPDX-License-Identifier: Apache-2.0
"""
What the agent has promised: one file for each attachment, and the same in memory.

The kernel is the truth about links. The journal says whose they are, which a kernel
cannot, and with which configuration DEL gives everything back when the runtime never
asks for it.
"""

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanbridge.agent.logs import LOG
from spanbridge.base.errors import ConfigError, DecodeError
from spanbridge.model.owner import Owner
from spanbridge.model.reader import Node, parse_object

VERSION: Final = 1
SUFFIX: Final = ".json"
DAMAGED_SUFFIX: Final = ".damaged"
_UNBOUNDED: Final = 1 << 64

Identity = tuple[int, int]
"""Device and inode of a namespace; means nothing after a reboot."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """
    One attachment, as ADD left it.

    Attributes:
        owner: Whose it is.
        program: Name that the plugin was called by.
        netns: CNI_NETNS as it was given.
        sandbox: The namespace that was attached.
        visible: ``netns`` led the agent itself to that namespace.
        host: The caller's namespace, where the bridge is.
        boot_id: Of the boot that the two identities belong to.
        attached_s: Wall clock, in seconds since 1970.
        args: CNI_ARGS.
        path: CNI_PATH.
        config: Standard input, byte for byte.
        result: What ADD answered.
    """

    owner: Owner
    program: str
    netns: str
    sandbox: Identity
    visible: bool
    host: Identity
    boot_id: str
    attached_s: float
    args: str
    path: str
    config: bytes
    result: Mapping[str, object]

    @property
    def addresses(self) -> list[str]:
        """Addresses of the result, with their prefix lengths."""
        ips = self.result.get("ips")
        listed = ips if isinstance(ips, list) else []
        return [str(ip["address"]) for ip in listed if isinstance(ip, dict) and "address" in ip]


def render_attachment(attachment: Attachment) -> bytes:
    """Make the content of its file."""
    owner = attachment.owner
    document = {
        "version": VERSION,
        "network": owner.network,
        "containerId": owner.container_id,
        "ifname": owner.ifname,
        "program": attachment.program,
        "netns": attachment.netns,
        "sandbox": list(attachment.sandbox),
        "visible": attachment.visible,
        "host": list(attachment.host),
        "bootId": attachment.boot_id,
        "attached": attachment.attached_s,
        "args": attachment.args,
        "path": attachment.path,
        # As text, since the bytes count: the last of two equal keys, their spelling, UTF-16.
        "config": attachment.config.decode(errors="surrogateescape"),
        "result": attachment.result,
    }
    return json.dumps(document).encode()


def parse_attachment(data: bytes) -> Attachment:
    """
    Read the content of a file.

    Raises:
        DecodeError: It is damaged, or of another version.
    """
    root = parse_object(data, "the record of an attachment")
    try:
        if root.integer("version", minimum=0, maximum=_UNBOUNDED) != VERSION:
            raise root.fault("version", "it is another one", f"{VERSION} is read")
        result = root.node("result")
        if result is None:
            raise root.fault("result", "it is missing")
        return Attachment(
            owner=Owner.of(
                _text(root, "network"), _text(root, "containerId"), _text(root, "ifname")
            ),
            program=_text(root, "program"),
            netns=root.text("netns"),
            sandbox=_identity(root, "sandbox"),
            visible=root.flag("visible"),
            host=_identity(root, "host"),
            boot_id=_text(root, "bootId"),
            attached_s=_seconds(root, "attached"),
            args=root.text("args"),
            path=root.text("path"),
            config=_text(root, "config").encode(errors="surrogateescape"),
            result=dict(result.raw),
        )
    except (ConfigError, UnicodeEncodeError) as exc:
        raise DecodeError(f"cannot decode the record of an attachment: {exc}") from exc


def _text(root: Node, key: str) -> str:
    value = root.text(key)
    if not value:
        raise root.fault(key, "it is missing or empty")
    return value


def _identity(root: Node, key: str) -> Identity:
    match root.sequence(key):
        case [int(device), int(inode)]:
            return device, inode
    raise root.fault(key, "it is no pair of device and inode")


def _seconds(root: Node, key: str) -> float:
    value = root.take(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise root.fault(key, "it is no number")
    return float(value)


class Journal:
    """
    The attachments of a directory; safe to use from many threads.

    Args:
        directory: Where the files are; made when missing.

    Raises:
        OSError: The directory cannot be made or read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = os.fspath(directory)
        self._lock = threading.Lock()
        self._held: dict[str, Attachment] = {}
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(directory.iterdir()):
            if path.name.startswith("."):
                path.unlink()  # written when the last agent was killed
            elif path.name.endswith(SUFFIX):
                self._load(path)

    def _load(self, path: Path) -> None:
        try:
            attachment = parse_attachment(path.read_bytes())
        except DecodeError as exc:
            aside = path.with_name(path.name + DAMAGED_SUFFIX)
            LOG.error("cannot read an attachment; set aside", file=str(aside), cause=exc.message)
            path.rename(aside)
            return
        self._held[attachment.owner.tag] = attachment

    def __len__(self) -> int:
        return len(self._held)

    def all(self) -> list[Attachment]:
        """List the attachments, the oldest first."""
        with self._lock:
            found = list(self._held.values())
        return sorted(found, key=lambda each: each.attached_s)

    def find(self, owner: Owner) -> Attachment | None:
        """Return the attachment of ``owner``, if there is one."""
        return self._held.get(owner.tag)

    def put(self, attachment: Attachment) -> None:
        """
        Remember an attachment, in place of an older one of the same owner.

        Raises:
            OSError: The file cannot be written; then nothing changes.
        """
        tag = attachment.owner.tag
        temporary = f"{self._directory}/.{tag}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            data = render_attachment(attachment)
            if os.write(descriptor, data) != len(data):
                raise OSError(f"cannot write all of {temporary}")
        finally:
            os.close(descriptor)
        # No fsync, which would cost more than the whole ADD: what the record speaks of is
        # kernel state, and dies with the machine just as an unwritten page does. A crash of
        # this process loses nothing, since the page cache is the kernel's.
        os.rename(temporary, self._path(tag))  # noqa: PTH104  # called in every ADD
        with self._lock:
            self._held[tag] = attachment

    def drop(self, owner: Owner) -> Attachment | None:
        """Forget the attachment of ``owner``; return what was forgotten."""
        with self._lock:
            known = self._held.pop(owner.tag, None)
        if known is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(owner.tag))  # noqa: PTH108  # called in every DEL
        return known

    def keep_only(self, network: str, valid: frozenset[tuple[str, str]]) -> list[Attachment]:
        """
        Forget what GC has removed.

        Args:
            network: Whose attachments are looked at.
            valid: Container id and interface name of those that stay.

        Returns:
            What was forgotten.
        """
        stale = [
            each.owner
            for each in self.all()
            if each.owner.network == network
            and (each.owner.container_id, each.owner.ifname) not in valid
        ]
        return [each for each in map(self.drop, stale) if each is not None]

    def _path(self, tag: str) -> str:
        return f"{self._directory}/{tag}{SUFFIX}"
