# SPDX-License-Identifier: Apache-2.0
"""Writing and removing the files by which a node's own manager keeps an uplink."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from spanbridge.base.errors import Code, NodeError
from spanbridge.base.files import write_atomic
from spanbridge.base.names import IfName
from spanbridge.bridge.site import Site
from spanbridge.bridge.uplink.changes import records_lock
from spanbridge.bridge.uplink.managers import (
    NETWORKD,
    NETWORKMANAGER,
    NMSTATE,
    RENDERERS,
    Kept,
    Text,
)
from spanbridge.bridge.uplink.plan import made_mac
from spanbridge.bridge.uplink.record import KeptFile, Ledger, Record

SIGNS: Final = (
    (NMSTATE, "var/log/containers", "nmstate-handler-*"),
    (NETWORKMANAGER, "run/NetworkManager", "NetworkManager.pid"),
    (NETWORKMANAGER, "run/NetworkManager", "devices"),
    (NETWORKD, "run/systemd/netif", "state"),
)
"""
What a running manager leaves: its name, a directory, and what is in it. The first counts:
kubernetes-nmstate works through NetworkManager and overwrites what others tell it.
"""


AUTO: Final = "auto"
PRINT: Final = "print"
NONE: Final = "none"
WAYS: Final = (AUTO, *RENDERERS, PRINT, NONE)
"""What ``--persist`` takes."""

_RELOAD: Final = {NETWORKMANAGER: "nmcli connection reload", NETWORKD: "networkctl reload"}

_NOT_THE_NODE: Final = (
    "this is not the machine's own network namespace: nobody keeps the uplink across reboots"
)
_NO_MANAGER: Final = (
    "no network manager that we know runs here: run this command again after a reboot, or name"
    ' the device by the key "uplink" of the network'
)

_CARDS: Final = frozenset({"", "veth"})
"""Kinds of links that a profile of type ``ethernet`` is for."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """
    How an uplink is kept across reboots.

    Attributes:
        manager: Who keeps it; empty for nobody.
        written: Paths of the files that were written now.
        printed: Texts that somebody else has to install.
        notes: What the operator should know, in sentences.
    """

    manager: str
    written: tuple[str, ...] = ()
    printed: tuple[Text, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removed:
    """
    What became of the files.

    Attributes:
        paths: Those that were removed.
        left: Those that somebody has changed, which stay.
    """

    paths: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def reload(self) -> str:
        """The command by which their manager forgets them at once; empty without any."""
        if not self.paths:
            return ""
        keyfiles = any(path.endswith(".nmconnection") for path in self.paths)
        return _RELOAD[NETWORKMANAGER if keyfiles else NETWORKD]


def detect_manager(root: Path) -> str:
    """
    Name the manager of a node; empty where there is none that we know.

    Args:
        root: Of the node's file system.
    """
    for manager, directory, pattern in SIGNS:
        if any((root / directory).glob(pattern)):
            return manager
    return ""


def is_whole_node(site: Site) -> bool:
    """Tell whether our network namespace is the machine's, which its manager looks after."""
    try:
        seen = os.stat("/proc/1/ns/net")  # noqa: PTH116  # identity of a namespace
    except OSError:
        return False
    return (seen.st_dev, seen.st_ino) == site.host.identity


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _content(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None


def keep(site: Site, ledger: Ledger, record: Record, *, way: str, root: Path) -> Keeping:
    """
    Have the node's own manager keep an uplink that `ensure` has made.

    Args:
        site: Where the uplink is.
        ledger: Where files are recorded before they are written.
        record: Of the uplink.
        way: One of ``WAYS``.
        root: Of the node's file system.

    Raises:
        NodeError: A file of somebody else is in the way, or cannot be written.
    """
    if way == NONE:
        return Keeping("")
    if way == AUTO and not is_whole_node(site):
        return Keeping("", notes=(_NOT_THE_NODE,))
    manager = way if way in RENDERERS else detect_manager(root)
    if not manager:
        return Keeping("", notes=(_NO_MANAGER,))
    wish = record.wish
    kept = Kept(wish, made_mac(record.changes), os.uname().nodename)
    texts = RENDERERS[manager](kept)
    if way == PRINT or manager == NMSTATE:
        return Keeping(manager, printed=texts)
    notes: tuple[str, ...] = ()
    link = site.node.link(wish.device)
    if manager == NETWORKMANAGER and link is not None and link.kind not in _CARDS:
        texts, notes = texts[:-1], (_own_profile(record, link.kind),)
    written, left = write_files(site, ledger, wish.device, root=root, texts=texts)
    notes += tuple(f"{path} was changed since we wrote it, and stays" for path in left)
    if written:
        notes += (f"{manager} reads this at the next boot; at once: {_RELOAD[manager]}",)
    return Keeping(manager, written, notes=notes)


def _own_profile(record: Record, kind: str) -> str:
    vlans = ", ".join(str(each) for each in record.wish.vlans)
    return (
        f"NetworkManager keeps {record.wish.device} (a {kind}) in a profile of its own; add to it:"
        f" nmcli connection modify PROFILE master {record.wish.bridge} slave-type bridge"
        f' bridge-port.vlans "{vlans}"'
    )


def write_files(
    site: Site, ledger: Ledger, device: IfName, *, root: Path, texts: Sequence[Text]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """
    Write the files of one uplink; those that an earlier call wrote and are not among them go.

    Args:
        site: For the lock.
        ledger: Where the files are recorded before they are written.
        device: Of the uplink, which is on record.
        root: Of the node's file system.
        texts: What to write.

    Returns:
        Paths that were written now, and of earlier files that somebody has changed.

    Raises:
        NodeError: A file of somebody else is there, or one was changed since; nothing was
            written. Or it cannot be written.
    """
    with records_lock(site):
        record = ledger.read(device)
        if record is None:
            raise NodeError(f"cannot keep {device}: it is no uplink on record")
        planned = {str(root.absolute() / text.path): text for text in texts}
        wanted = [KeptFile(path, _digest(text.content.encode())) for path, text in planned.items()]
        due = [each for each in wanted if _must_write(each, record.files)]
        surplus = [each for each in record.files if each.path not in planned]
        # Both digests of a file that is replaced: a kill leaves either content.
        known = (*record.files, *(each for each in wanted if each not in record.files))
        if known != record.files:
            ledger.write(replace(record, files=known))
        for each in due:
            _write(each.path, planned[each.path])
        removed = _remove(surplus)
        if known != tuple(wanted):
            ledger.write(replace(record, files=tuple(wanted)))
        return tuple(each.path for each in due), removed.left


def _must_write(wanted: KeptFile, recorded: Iterable[KeptFile]) -> bool:
    """Tell whether a file is not as wanted yet; refuse to overwrite what is not ours."""
    content = _content(wanted.path)
    if content is None:
        return True
    found = KeptFile(wanted.path, _digest(content))
    if found == wanted:
        return False
    if found in recorded:
        return True
    ours = any(each.path == wanted.path for each in recorded)
    cause = "it was changed since we wrote it" if ours else "a file of somebody else is there"
    raise NodeError(
        f"cannot write {wanted.path}: {cause}",
        hint="see what is in it and move it away, or use --persist print",
        code=Code.STORE,
    )


def _write(path: str, text: Text) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        _sweep(path)
        write_atomic(path, text.content.encode(), mode=text.mode)
    except OSError as exc:
        raise NodeError(
            f"cannot write {path}: {exc.strerror}",
            hint="use --persist print, and install what is printed by hand",
            code=Code.STORE,
        ) from exc


def _sweep(path: str) -> None:
    """Remove what writers of this file left that were killed."""
    whole = Path(path)
    for each in whole.parent.glob(f".{whole.name}.*.tmp"):
        each.unlink(missing_ok=True)


def remove_files(site: Site, ledger: Ledger, record: Record) -> Removed:
    """
    Remove the files of one uplink, apart from those that somebody has changed.

    Those of a bridge with another uplink on record pass to that one.

    Raises:
        NodeError: One cannot be removed.
    """
    if not record.files:
        return Removed((), ())
    with records_lock(site):
        passed = _pass_on(ledger, record)
        removed = _remove([each for each in record.files if each not in passed])
        now = ledger.read(record.wish.device)
        if now is not None:
            ledger.write(replace(now, files=()))
        return removed


def _pass_on(ledger: Ledger, record: Record) -> tuple[KeptFile, ...]:
    """Hand the files of the bridge to its next uplink; those that were handed on."""
    device, bridge = record.wish.device, record.wish.bridge
    heirs = [each for each in ledger.of_bridge(bridge) if each.wish.device != device]
    passed = tuple(
        each for each in record.files if Path(each.path).stem.endswith(f"spanbridge-{bridge}")
    )
    if not heirs or not passed:
        return ()
    files = (*heirs[0].files, *(each for each in passed if each not in heirs[0].files))
    ledger.write(replace(heirs[0], files=files))
    return passed


def _remove(files: Sequence[KeptFile]) -> Removed:
    removed, left = [], []
    for path in dict.fromkeys(each.path for each in files):
        _sweep(path)
        content = _content(path)
        if content is None:
            continue
        if KeptFile(path, _digest(content)) not in files:
            left.append(path)
            continue
        try:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
        except OSError as exc:
            raise NodeError(f"cannot remove {path}: {exc.strerror}", code=Code.STORE) from exc
        removed.append(path)
    return Removed(tuple(removed), tuple(left))
