# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PTH103, PTH108, PTH116, PTH120 - the one-shot program does not import pathlib
r"""
A cache over one network's directory: owner to addresses, and what is free.

The directory is the truth. The index is used only while the directory's lock is held
and only when its seal fits: device, inode and mtime of the directory, and the boot id,
as they were when the last holder of the lock left. Whoever creates or removes a file
moves the mtime; a crash in between leaves the seal broken; after a reboot pages of the
index may be lost, so the boot id differs. Whatever is wrong, the index is built anew.

File layout, little endian, one file per network::

    0      header   magic 8s; seal: boot id 16s, device u64, inode u64, mtime_ns i64;
                    capacity u32, count u32, number of spans u32
    64     spans    each: IP version u32, first 16s, last 16s (addresses left-aligned)
    4096   table    capacity slots, each: CRC-32 of the owner u32, IP version u8, 3 pad
                    bytes, address 16s; open addressing, linear probing, version 0 is empty
    …      bitmaps  one per span, lowest address first, a set bit is taken
"""

import binascii
import contextlib
import functools
import os
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from spanbridge.model.addresses import Ip

Span = tuple[Ip, Ip]
"""First and last address of a range that has a bitmap."""

Lease = tuple[int, Ip]
"""Key of an owner and one address of it."""

SPAN_MAX: Final = 1 << 20
"""Addresses; a bigger range is never nearly full, so probing it file by file is cheap."""

SPANS_MAX: Final = 64
"""Spans; what the header's page can list."""

_MAGIC: Final = b"sbindex1"
_HEADER: Final = Struct("<8s40sIII")
_SEAL: Final = Struct("<16sQQq")
_SPAN: Final = Struct("<I16s16s")
_SLOT: Final = Struct("<IB3x16s")
_VERSION_IN_SLOT: Final = 4
_SPANS_AT: Final = 64
_TABLE_AT: Final = 4096
_WINDOW: Final = 32
"""Slots read at once; at half load nearly every probe ends within."""

_CHUNK: Final = 4096
"""Bytes of bitmap searched at once."""

_SPARE: Final = 512
"""Smallest capacity, in slots."""

_POOL_MAX: Final = 1 << 16
"""Addresses; a table is made for the whole pool up to this size and grows beyond."""

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


def owner_key(container_id: str, ifname: str) -> int:
    """Hash an owner; equal keys are only candidates, the file says who it is."""
    return binascii.crc32(f"{container_id}\n{ifname}".encode())


Seal = bytes
"""State of a directory: boot id, device, inode, mtime in nanoseconds; packed."""

BROKEN_SEAL: Final = bytes(_SEAL.size)
"""Fits no directory."""


def observe_seal(directory: str) -> Seal:
    """Read the state of ``directory`` now."""
    status = os.stat(directory)
    return _SEAL.pack(_boot_id(), status.st_dev, status.st_ino, status.st_mtime_ns)


@functools.cache
def _boot_id() -> bytes:
    try:
        descriptor = os.open(_BOOT_ID, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # Without /proc no seal of another process ever fits: slow, but right.
        return os.urandom(16)
    try:
        return bytes.fromhex(os.read(descriptor, 64).decode().strip().replace("-", ""))
    finally:
        os.close(descriptor)


def _padded(ip: Ip) -> bytes:
    return ip.packed.ljust(16, b"\0")


def _unpadded(version: int, padded: bytes) -> Ip:
    size = Ip(version, 0).bits // 8
    return Ip(version, int.from_bytes(padded[:size], "big"))


def _bitmap_bytes(span: Span) -> int:
    return (span[1].number - span[0].number) // 8 + 1


class BrokenIndexError(Exception):
    """The index contradicts itself; the caller builds it anew."""


class Index:
    """One open index; every method needs the directory's lock."""

    def __init__(self, descriptor: int, capacity: int, count: int, spans: tuple[Span, ...]) -> None:
        self._descriptor = descriptor
        self._capacity = capacity
        self._count = count
        self.spans = spans
        self.dirty = False

    # ------------------------------------------------------------ opening

    @classmethod
    def load(cls, path: str, seal: Seal, spans: tuple[Span, ...] | None) -> "Index | None":
        """
        Open the index when its seal fits.

        Args:
            path: The index file.
            seal: The directory as it is now.
            spans: What must have a bitmap; None takes what is there.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        index = cls._read_header(descriptor, seal)
        if index is None or (spans is not None and spans != index.spans):
            os.close(descriptor)
            return None
        return index

    @classmethod
    def _read_header(cls, descriptor: int, seal: Seal) -> "Index | None":
        page = os.pread(descriptor, _TABLE_AT, 0)
        if len(page) < _TABLE_AT:
            return None
        magic, stored_seal, capacity, count, length = _HEADER.unpack_from(page)
        if magic != _MAGIC or stored_seal != seal or length > SPANS_MAX:
            return None
        stored = page[_SPANS_AT : _SPANS_AT + length * _SPAN.size]
        spans = tuple(
            (_unpadded(version, first), _unpadded(version, last))
            for version, first, last in _SPAN.iter_unpack(stored)
        )
        index = cls(descriptor, capacity, count, spans)
        return index if os.fstat(descriptor).st_size == index._size else None

    @classmethod
    def build(cls, path: str, spans: tuple[Span, ...], leases: Iterable[Lease]) -> "Index":
        """
        Make the index anew, unsealed; in memory where ``path`` cannot be written.

        A full disk must not keep DEL from finding what it has to remove.
        """
        leases = list(leases)
        pool = min(sum(last.number - first.number + 1 for first, last in spans), _POOL_MAX)
        wanted = max(2 * pool, 4 * len(leases), _SPARE)
        capacity = 1 << (wanted - 1).bit_length()
        size = _TABLE_AT + capacity * _SLOT.size + sum(map(_bitmap_bytes, spans))
        content = bytearray(size)
        _put_header(content, capacity, len(leases), spans)
        _put_table(content, capacity, leases)
        _put_bitmaps(content, _TABLE_AT + capacity * _SLOT.size, spans, leases)
        index = cls(_stored(path, content), capacity, len(leases), spans)
        index.dirty = True
        return index

    @property
    def _size(self) -> int:
        return self._bitmaps_at + sum(_bitmap_bytes(span) for span in self.spans)

    @property
    def _bitmaps_at(self) -> int:
        return _TABLE_AT + self._capacity * _SLOT.size

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    # ------------------------------------------------------------ sealing

    def unseal(self) -> None:
        """Break the seal before the first change, so that a crash leaves it broken."""
        if not self.dirty:
            self.dirty = True
            self._write_header(BROKEN_SEAL)

    def seal(self, seal: Seal) -> None:
        """Declare that the index is what the directory is."""
        self._write_header(seal)
        self.dirty = False

    def _write_header(self, seal: Seal) -> None:
        header = _HEADER.pack(_MAGIC, seal, self._capacity, self._count, len(self.spans))
        os.pwrite(self._descriptor, header, 0)

    # ------------------------------------------------------------ owners

    @property
    def is_crowded(self) -> bool:
        """Tell whether one more lease would make probing slow: build anew first."""
        return 2 * (self._count + 1) > self._capacity

    def candidates(self, key: int) -> list[Ip]:
        """List the addresses whose owner has this key."""
        return [
            _unpadded(version, padded)
            for _, slot_key, version, padded in self._occupied(key % self._capacity)
            if slot_key == key
        ]

    def insert(self, key: int, ip: Ip) -> None:
        """Note that ``ip`` is taken."""
        self.unseal()
        home = key % self._capacity
        run = sum(1 for _ in self._occupied(home))
        self._write_slot((home + run) % self._capacity, key, ip.version, _padded(ip))
        self._count += 1
        self._mark(ip, taken=True)

    def remove(self, key: int, ip: Ip) -> None:
        """
        Note that ``ip`` is free.

        Raises:
            BrokenIndexError: It was not noted as taken by this owner.
        """
        self.unseal()
        wanted = (key, ip.version, _padded(ip))
        for position, *slot in self._occupied(key % self._capacity):
            if tuple(slot) == wanted:
                self._close_gap(position)
                self._count -= 1
                self._mark(ip, taken=False)
                return
        raise BrokenIndexError(f"{ip} is not in the index")

    def _close_gap(self, gap: int) -> None:
        # Knuth, TAOCP 3, 6.4, algorithm R: move back every slot that the gap would cut off.
        for position, key, version, padded in self._occupied((gap + 1) % self._capacity):
            home = key % self._capacity
            if (position - home) % self._capacity >= (position - gap) % self._capacity:
                self._write_slot(gap, key, version, padded)
                gap = position
        self._write_slot(gap, 0, 0, b"")

    def _occupied(self, position: int) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield position, key, IP version and address up to the first empty slot."""
        visited = 0
        while visited < self._capacity:
            length = min(_WINDOW, self._capacity - position)
            where = _TABLE_AT + position * _SLOT.size
            chunk = os.pread(self._descriptor, length * _SLOT.size, where)
            for key, version, padded in _SLOT.iter_unpack(chunk):
                if not version:
                    return
                yield position, key, version, padded
                position += 1
            visited += length
            position %= self._capacity
        raise BrokenIndexError("no slot is empty")

    def _write_slot(self, position: int, key: int, version: int, padded: bytes) -> None:
        slot = _SLOT.pack(key, version, padded)
        os.pwrite(self._descriptor, slot, _TABLE_AT + position * _SLOT.size)

    # ------------------------------------------------------------ free addresses

    def _bit(self, ip: Ip) -> int | None:
        """Place of the address's bit, counted from the first bitmap; None without a span."""
        base = 0
        for first, last in self.spans:
            if first.version == ip.version and first <= ip <= last:
                return base + ip.number - first.number
            base += 8 * _bitmap_bytes((first, last))
        return None

    def covers(self, ip: Ip) -> bool:
        """Tell whether the index knows if ``ip`` is free."""
        return self._bit(ip) is not None

    def next_free(self, first: Ip, last: Ip) -> Ip | None:
        """Find the lowest address not taken, of a stretch within one range."""
        begin = self._bit(first)
        if begin is None:
            return first
        offset = self._first_clear(begin, begin + last.number - first.number + 1)
        return None if offset is None else first + (offset - begin)

    def _first_clear(self, begin: int, end: int) -> int | None:
        while begin < end:
            base = begin - begin % 8
            chunk = os.pread(self._descriptor, _CHUNK, self._bitmaps_at + base // 8)
            taken = int.from_bytes(chunk, "little") | ((1 << (begin - base)) - 1)
            # The lowest clear bit of x is the only bit that x + 1 sets.
            found = base + (~taken & (taken + 1)).bit_length() - 1
            if found < min(end, base + 8 * len(chunk)):
                return found
            begin = base + 8 * max(len(chunk), 1)
        return None

    def _mark(self, ip: Ip, *, taken: bool) -> None:
        bit = self._bit(ip)
        if bit is None:
            return
        where = self._bitmaps_at + bit // 8
        byte = os.pread(self._descriptor, 1, where)[0]
        mask = 1 << (bit % 8)
        os.pwrite(self._descriptor, bytes([byte | mask if taken else byte & ~mask]), where)


def _put_header(content: bytearray, capacity: int, count: int, spans: tuple[Span, ...]) -> None:
    _HEADER.pack_into(content, 0, _MAGIC, BROKEN_SEAL, capacity, count, len(spans))
    for number, (first, last) in enumerate(spans):
        where = _SPANS_AT + number * _SPAN.size
        _SPAN.pack_into(content, where, first.version, _padded(first), _padded(last))


def _put_table(content: bytearray, capacity: int, leases: list[Lease]) -> None:
    for key, ip in leases:
        where = _TABLE_AT + key % capacity * _SLOT.size
        while content[where + _VERSION_IN_SLOT]:
            where += _SLOT.size
            if where == _TABLE_AT + capacity * _SLOT.size:
                where = _TABLE_AT
        _SLOT.pack_into(content, where, key, ip.version, _padded(ip))


def _put_bitmaps(
    content: bytearray, where: int, spans: tuple[Span, ...], leases: list[Lease]
) -> None:
    for first, last in spans:
        for _, ip in leases:
            if ip.version == first.version and first <= ip <= last:
                offset = ip.number - first.number
                content[where + offset // 8] |= 1 << (offset % 8)
        where += _bitmap_bytes((first, last))


def _stored(path: str, content: bytearray) -> int:
    """Write the file, or one that lives in memory only, and return its descriptor."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return _filled(os.open(path, flags, 0o600), content)
    except OSError:
        return _filled(os.memfd_create("spanbridge-index"), content)


def _filled(descriptor: int, content: bytearray) -> int:
    """Write all that is not zero; the rest of the file is a hole."""
    zeros = bytes(_CHUNK)
    try:
        os.ftruncate(descriptor, len(content))
        for offset in range(0, len(content), _CHUNK):
            chunk = content[offset : offset + _CHUNK]
            if chunk != zeros[: len(chunk)]:
                os.pwrite(descriptor, chunk, offset)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
