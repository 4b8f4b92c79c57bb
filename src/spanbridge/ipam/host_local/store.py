# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PTH108, PTH112, PTH120, PTH208 - the one-shot program does not import pathlib
r"""
The files of host-local, as the reference plugin writes and reads them.

::

    <dataDir>/<network>/lock                flock, exclusive, for the whole directory
    <dataDir>/<network>/10.88.0.5           containerID CR LF ifname; older: containerID only
    <dataDir>/<network>/last_reserved_ip.0  text of the address that set 0 gave last
    <dataDir>/.spanbridge/<network>.index   ours, a cache, see ``index``

A file without an owner in it, found under the lock, is what a crash between creation
and writing has left: its address is free. Nothing is flushed to the disk: a promise to a
running sandbox does not outlive the page cache, and after a reboot no sandbox runs.

Source: CNI plugins 1.9.1, host-local documentation; directories written by its binaries.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from spanbridge.base.errors import Code, NodeError, SpanbridgeError
from spanbridge.base.files import locked
from spanbridge.ipam.host_local.index import (
    BrokenIndexError,
    Index,
    Lease,
    Span,
    observe_seal,
    owner_key,
)
from spanbridge.model.addresses import Ip, ip_from_text

LOCK_TIMEOUT_S: Final = 30.0
"""Longer than any holder needs: the reference reads 60 000 files in under a second."""

_BODY_MAX_BYTES: Final = 4096
_SEAL_AGE_NS: Final = 10_000_000_000
"""A seal lies this far in the past, so no later change can give the directory its mtime."""


class Holder(NamedTuple):
    """
    Whom an address belongs to.

    Attributes:
        container_id: As in the file.
        ifname: Empty in files of the old form.
    """

    container_id: str
    ifname: str

    @property
    def key(self) -> int:
        """Its key in the index."""
        return owner_key(self.container_id, self.ifname)

    def __str__(self) -> str:
        return f"{self.container_id}/{self.ifname}" if self.ifname else self.container_id


def parse_body(body: bytes) -> Holder | None:
    """Read the content of a reservation; None when it names nobody. Pure."""
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        return None
    if not text or "\0" in text:
        return None
    container_id, _, ifname = text.partition("\n")
    return Holder(container_id.strip(), ifname.strip())


def render_body(holder: Holder) -> bytes:
    """Make the content of a reservation. Pure."""
    return f"{holder.container_id}\r\n{holder.ifname}".encode()


class Session:
    """The directory of one network while its lock is held."""

    def __init__(self, directory: str, index_path: str, spans: tuple[Span, ...] | None) -> None:
        self._directory = directory
        self._index_path = index_path
        self._spans = spans
        self._built = False
        self._index = Index.load(index_path, observe_seal(directory), spans) or self._build()

    # ------------------------------------------------------------ questions

    def held_by(self, holder: Holder) -> list[Ip]:
        """List the addresses of exactly this holder, lowest first."""
        try:
            found = self._index.candidates(holder.key)
        except BrokenIndexError:
            self._renew()
            found = self._index.candidates(holder.key)
        return sorted(ip for ip in found if self.holder(ip) == holder)

    def holder(self, ip: Ip) -> Holder | None:
        """Read whom ``ip`` belongs to; None when it is free."""
        try:
            descriptor = os.open(self._path(ip), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return parse_body(os.read(descriptor, _BODY_MAX_BYTES))
        except IsADirectoryError:
            return Holder("a directory", "")
        finally:
            os.close(descriptor)

    def next_free(self, first: Ip, last: Ip) -> Ip | None:
        """Find the lowest address of a stretch that is probably free."""
        return self._index.next_free(first, last)

    def cursor(self, set_number: int) -> Ip | None:
        """Read the address that this set gave last."""
        try:
            descriptor = os.open(self._cursor_path(set_number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return ip_from_text(os.read(descriptor, 64).decode(errors="replace").strip())
        finally:
            os.close(descriptor)

    def reservations(self) -> list[tuple[Ip, Holder | None]]:
        """Read every file; None as holder is what a crash has left."""
        names = ((name, ip_from_text(name)) for name in os.listdir(self._directory))
        return [(ip, self.holder(ip)) for name, ip in names if ip is not None and str(ip) == name]

    # ------------------------------------------------------------ changes

    def reserve(self, ip: Ip, holder: Holder) -> Holder | None:
        """
        Take ``ip``; one attempt creates the file or fails, whatever the index says.

        Returns:
            Who has it already; None when it is ours now.
        """
        self._note(Index.unseal)
        while not self._create(ip, holder):
            current = self.holder(ip)
            if current is not None:
                return current
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(ip))
        if self._index.is_crowded:
            self._renew()
        else:
            self._note(lambda index: index.insert(holder.key, ip))
        return None

    def _create(self, ip: Ip, holder: Holder) -> bool:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path(ip), flags, 0o600)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, render_body(holder))
        except BaseException:
            os.unlink(self._path(ip))
            raise
        finally:
            os.close(descriptor)
        return True

    def free(self, ip: Ip, holder: Holder) -> None:
        """Give ``ip`` back; succeeds on what is gone."""
        self.discard(ip)
        self._note(lambda index: index.remove(holder.key, ip))

    def discard(self, ip: Ip) -> None:
        """Remove a file that names nobody."""
        self._note(Index.unseal)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(ip))

    def set_cursor(self, set_number: int, ip: Ip) -> None:
        """Note the address that this set gave last; a torn write only moves the start."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._cursor_path(set_number), flags, 0o600)
        try:
            # Not O_TRUNC: ext4 starts writing out a file emptied and closed, 0.3 ms each time.
            os.ftruncate(descriptor, os.write(descriptor, str(ip).encode()))
        finally:
            os.close(descriptor)

    # ------------------------------------------------------------ the index

    def distrust(self, ip: Ip) -> None:
        """Act on finding ``ip`` taken: when the index should have known, build it anew."""
        if self._index.covers(ip):
            self._renew()

    def rebuild(self) -> bool:
        """Build the index from the directory; False when that was done in this session."""
        return not self._built and self._renew()

    def _renew(self) -> bool:
        self._index.close()
        self._index = self._build()
        return True

    def _note(self, change: Callable[[Index], None]) -> None:
        try:
            change(self._index)
        except (BrokenIndexError, OSError):
            # A cache must not fail a call; the directory has the change already.
            self._renew()

    def _build(self) -> Index:
        self._built = True
        leases: list[Lease] = [
            (holder.key, ip) for ip, holder in self.reservations() if holder is not None
        ]
        return Index.build(self._index_path, self._spans or (), leases)

    def seal(self) -> None:
        """Let the next holder of the lock use the index; where that fails, it scans."""
        if not self._index.dirty:
            return
        with contextlib.suppress(OSError):
            past = time.time_ns() - _SEAL_AGE_NS
            os.utime(self._directory, ns=(past, past))
            self._index.seal(observe_seal(self._directory))

    def close(self) -> None:
        """Let go of the index."""
        self._index.close()

    def _path(self, ip: Ip) -> str:
        return f"{self._directory}/{ip}"

    def _cursor_path(self, set_number: int) -> str:
        return f"{self._directory}/last_reserved_ip.{set_number}"


class Store:
    """
    The reservations of one network.

    Attributes:
        directory: Where they are.
    """

    def __init__(self, data_dir: str, network: str) -> None:
        self.directory = f"{data_dir.rstrip('/')}/{network}"
        self._index_path = f"{data_dir.rstrip('/')}/.spanbridge/{network}.index"

    def exists(self) -> bool:
        """Tell whether anything was ever reserved."""
        return os.path.isdir(self.directory)

    def write_fault(self) -> str:
        """Say why a reservation could not be written, or the empty string; changes nothing."""
        path = self.directory
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        if not os.path.isdir(path):
            return f"{path} is no directory"
        return "" if os.access(path, os.W_OK | os.X_OK) else f"{path} is not writable"

    @contextlib.contextmanager
    def session(self, spans: tuple[Span, ...] | None = None) -> Iterator[Session]:
        """
        Hold the lock of the directory, which is made when missing.

        Args:
            spans: Ranges to keep a bitmap of; None keeps those there are.

        Raises:
            RetryError: Another process does not let go of the lock.
            NodeError: The file system refuses; code STORE.
        """
        with (
            self._errors(),
            locked(f"{self.directory}/lock", timeout_s=LOCK_TIMEOUT_S),
            contextlib.closing(Session(self.directory, self._index_path, spans)) as session,
        ):
            # Whatever else ends the session may have torn the index: it stays unsealed.
            try:
                yield session
            except SpanbridgeError:
                session.seal()
                raise
            session.seal()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise NodeError(
                f"cannot use the address store {self.directory}: {exc.strerror} ({exc.filename})",
                hint="the directory must be on a writable file system with free space",
                code=Code.STORE,
            ) from exc
