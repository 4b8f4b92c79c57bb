# SPDX-License-Identifier: Apache-2.0
"""What `spanbridge uplink` has done, on disk before it is done."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from spanbridge.base.errors import Code, InputError, NodeError
from spanbridge.base.files import write_atomic
from spanbridge.base.names import IfName
from spanbridge.bridge.uplink.plan import ORDER, Change, after_reboot
from spanbridge.model.uplink import UplinkWish, parse_wish

VERSION: Final = 1
_SUFFIX: Final = ".json"


@dataclass(frozen=True, slots=True)
class KeptFile:
    """
    A file that keeps the uplink across reboots.

    Attributes:
        path: Absolute, below the root that was named.
        sha256: Of the content that we wrote.
    """

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """
    One uplink.

    Attributes:
        wish: What it was last asked to be.
        changes: What was made of the kernel's state, or was about to be.
        files: What was written for the node's network manager, or was about to be.
        boot: Id of the boot in which the changes were made.
    """

    wish: UplinkWish
    changes: tuple[Change, ...]
    files: tuple[KeptFile, ...] = ()
    boot: str = ""


def render_record(record: Record) -> bytes:
    """Encode as JSON."""
    wish = record.wish
    document = {
        "version": VERSION,
        "boot": record.boot,
        "device": wish.device,
        "bridge": wish.bridge,
        "vlans": [str(each) for each in wish.vlans],
        "mtu": wish.mtu,
        "changes": [_render_change(each) for each in record.changes],
        "files": [{"path": each.path, "sha256": each.sha256} for each in record.files],
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def _render_change(change: Change) -> dict[str, object]:
    """Write the kind and what is not empty."""
    return {key: value for key, value in dataclasses.asdict(change).items() if value}


def parse_record(data: bytes) -> Record:
    """
    Decode what `render_record` wrote.

    Raises:
        ValueError: It is something else, or of another version.
    """
    found = json.loads(data)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"version {VERSION} is understood")
    try:
        wish = parse_wish(found["device"], found["bridge"], found["vlans"], found["mtu"])
        changes = tuple(_parse_change(each) for each in found["changes"])
        files = tuple(KeptFile(each["path"], each["sha256"]) for each in found["files"])
    except (InputError, KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"a field is missing or wrong: {exc}") from exc
    return Record(wish, changes, files, str(found.get("boot", "")))


def _parse_change(found: Mapping[str, Any]) -> Change:
    if found["kind"] not in ORDER:
        raise ValueError(f"change {found['kind']!r} is unknown")
    ranges = {
        key: tuple((int(low), int(high)) for low, high in found.get(key, ()))
        for key in ("added", "removed")
    }
    return Change(
        str(found["kind"]),
        mac=str(found.get("mac", "")),
        before=int(found.get("before", 0)),
        after=int(found.get("after", 0)),
        was_never_up=bool(found.get("was_never_up", False)),
        **ranges,
    )


def boot_id() -> str:
    """Return what tells this boot from others. Source: random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class Ledger:
    """
    The records of one node.

    Attributes:
        directory: Where they are, one file for each device.
        boot: Id of this boot.
    """

    directory: Path
    boot: str = field(default_factory=boot_id)

    def _path(self, device: str) -> Path:
        return self.directory / f"{device}{_SUFFIX}"

    def read(self, device: str) -> Record | None:
        """
        Read one record, as far as it holds in this boot; None where there is none.

        Raises:
            NodeError: The file cannot be read or understood.
        """
        path = self._path(device)
        try:
            return self._of_this_boot(parse_record(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise NodeError(
                f"cannot read {path}: {exc}",
                hint="undo by hand what it describes, then remove it",
                code=Code.STORE,
            ) from exc

    def _of_this_boot(self, record: Record) -> Record:
        if record.boot == self.boot:
            return record
        return replace(record, changes=after_reboot(record.changes), boot=self.boot)

    def every(self) -> tuple[Record, ...]:
        """Read all records, by device name."""
        try:
            names = sorted(os.listdir(self.directory))  # noqa: PTH208  # names, not paths
        except FileNotFoundError:
            return ()
        devices = [
            name.removesuffix(_SUFFIX)
            for name in names
            if name.endswith(_SUFFIX) and not name.startswith(".")
        ]
        return tuple(found for each in devices if (found := self.read(each)) is not None)

    def sweep(self) -> None:
        """Remove what writers left that were killed; the caller excludes living ones."""
        for path in self.directory.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def of_bridge(self, bridge: IfName) -> tuple[Record, ...]:
        """Read the records of one bridge's uplinks."""
        return tuple(each for each in self.every() if each.wish.bridge == bridge)

    def write(self, record: Record) -> None:
        """
        Replace a record; it is on the disk when this returns.

        Raises:
            NodeError: It cannot be written, so nothing must be changed.
        """
        path = self._path(record.wish.device)
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o755)
            write_atomic(path, render_record(record))
        except OSError as exc:
            raise NodeError(f"cannot write {path}: {exc.strerror}", code=Code.STORE) from exc

    def remove(self, device: str) -> None:
        """Remove a record, last of all."""
        with contextlib.suppress(FileNotFoundError):
            self._path(device).unlink()
