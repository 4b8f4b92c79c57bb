# SPDX-License-Identifier: Apache-2.0
"""
What a guest of the lab boots: this machine's Debian kernel, and an initramfs made here.

In it are a static busybox, the first program (``init.sh``) and the few modules that a
network card of QEMU needs. The kernel is unpacked here, since an emulated processor takes
longer for that than for all the rest of the boot. Made once a lab: a second call finds
the files.
"""

import gzip
import lzma
import shutil
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from spanbridge.base.errors import NodeError
from spanbridge.base.files import write_atomic
from spanbridge.lab.guest import PATH, find_kernel

MODULES: Final = ("virtio_pci", "virtio_net")
"""What the guest loads, with all they depend on: disks and the like it has none of."""

# Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
_CPIO_MAGIC: Final = "070701"
_CPIO_END: Final = "TRAILER!!!"
_DIRECTORIES: Final = ("bin", "dev", "modules", "proc", "tmp")

# Offsets in a bzImage. Source: Linux Documentation/arch/x86/boot.rst, protocol 2.08 and later.
_SETUP_SECTORS: Final = 0x1F1
_MAGIC: Final = 0x202
_PAYLOAD: Final = struct.Struct("<II")
_PAYLOAD_AT: Final = 0x248
_SECTOR_BYTES: Final = 512
# Source: elf(5), Elf64_Ehdr from e_phoff on, and Elf64_Phdr.
_ELF_MAGIC: Final = b"\x7fELF\x02\x01"
_ELF_SEGMENTS: Final = struct.Struct("<QQIHHH")
_ELF_SEGMENTS_AT: Final = 32
_ELF_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_PT_LOAD: Final = 1

_SUFFIXES: Final = ((".ko", bytes), (".ko.xz", lzma.decompress), (".ko.gz", gzip.decompress))


@dataclass(frozen=True, slots=True)
class Image:
    """
    What QEMU boots.

    Attributes:
        kernel: This machine's own, unpacked where we know how.
        initramfs: Made by `ensure_image`.
    """

    kernel: Path
    initramfs: Path


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory of an initramfs: its name, kind with permissions, and content."""

    name: str
    mode: int
    data: bytes = b""


def ensure_image(directory: Path) -> Image:
    """
    Make initramfs and kernel where they are not made yet.

    Raises:
        NodeError: There is no kernel, no busybox or no module.
    """
    kernel = find_kernel()
    busybox = shutil.which("busybox", path=PATH)
    if kernel is None or busybox is None:
        lacking = "kernel (Debian: linux-image-amd64)" if kernel is None else "busybox-static"
        raise NodeError(
            f"cannot make a virtual machine: there is no {lacking}", hint="run `make setup` as root"
        )
    release = kernel.name.removeprefix("vmlinuz-")
    directory.mkdir(parents=True, exist_ok=True)
    initramfs = directory / f"initramfs-{release}.gz"
    if not initramfs.exists():
        entries = gather(Path("/lib/modules") / release, Path(busybox))
        # Level 1: an emulated processor unpacks it, and it is read once.
        packed = gzip.compress(render_cpio(entries), compresslevel=1, mtime=0)
        write_atomic(initramfs, packed, mode=0o644, durable=False)
    return Image(_ensure_unpacked(kernel, directory / f"vmlinux-{release}"), initramfs)


def _ensure_unpacked(kernel: Path, unpacked: Path) -> Path:
    if not unpacked.exists():
        data = unpack_kernel(kernel.read_bytes())
        if data is None:
            return kernel
        write_atomic(unpacked, data, mode=0o644, durable=False)
    return unpacked


def unpack_kernel(image: bytes) -> bytes | None:
    """
    Take the ELF file out of a bzImage; what is not loaded is cut off.

    None where it is packed in a way that we do not know: QEMU boots it packed as well.
    QEMU starts an ELF kernel by its PVH entry. Source: QEMU hw/i386/x86.c, load_elfboot().
    """
    if image[_MAGIC : _MAGIC + 4] != b"HdrS":
        return None
    offset, length = _PAYLOAD.unpack_from(image, _PAYLOAD_AT)
    start = (image[_SETUP_SECTORS] + 1) * _SECTOR_BYTES + offset
    payload = image[start : start + length]
    try:
        # What follows the packed data is its unpacked size, and no business of the unpacker.
        if payload.startswith(b"\xfd7zXZ"):
            kernel = lzma.LZMADecompressor().decompress(payload)
        elif payload.startswith(b"\x1f\x8b"):
            kernel = zlib.decompressobj(wbits=31).decompress(payload)
        else:
            return None
    except (lzma.LZMAError, zlib.error):
        return None
    if not kernel.startswith(_ELF_MAGIC) or b"Xen\0" not in kernel:
        return None
    return kernel[: _loaded_bytes(kernel)]


def _loaded_bytes(kernel: bytes) -> int:
    """Tell where the last segment that is loaded ends."""
    at, _, _, _, size, count = _ELF_SEGMENTS.unpack_from(kernel, _ELF_SEGMENTS_AT)
    segments = (_ELF_SEGMENT.unpack_from(kernel, at + each * size) for each in range(count))
    ends = [offset + size for kind, _, offset, _, _, size, *_ in segments if kind == _PT_LOAD]
    return int(max(ends))


def gather(modules_dir: Path, busybox: Path) -> list[Entry]:
    """
    Collect what belongs into the initramfs.

    Raises:
        NodeError: A module is missing.
    """
    loaded = list(module_order((modules_dir / "modules.dep").read_text(), MODULES))
    entries = [Entry(name, stat.S_IFDIR | 0o755) for name in _DIRECTORIES]
    entries.append(Entry("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()))
    first = (files("spanbridge.lab.vm") / "init.sh").read_bytes()
    entries.append(Entry("init", stat.S_IFREG | 0o755, first))
    names = []
    for path in loaded:
        name, data = read_module(modules_dir / path)
        names.append(name)
        entries.append(Entry(f"modules/{name}", stat.S_IFREG | 0o644, data))
    order = "".join(f"{name}\n" for name in names)
    entries.append(Entry("modules/order", stat.S_IFREG | 0o644, order.encode()))
    return entries


def module_order(dependencies: str, wanted: Iterable[str]) -> Iterator[str]:
    """
    Name the files of modules and of all they need, each after what it needs.

    A module that is not listed is built into the kernel.

    Args:
        dependencies: Content of ``modules.dep``. Source: modules.dep(5).
        wanted: Names of modules.
    """
    needs = {
        path: rest.split()
        for path, _, rest in (line.partition(":") for line in dependencies.splitlines())
    }
    paths = {_module_name(path): path for path in needs}
    seen: set[str] = set()
    for name in wanted:
        if name not in paths:
            continue
        # A file's dependencies stand from the nearest to the furthest.
        for path in (*reversed(needs[paths[name]]), paths[name]):
            if path not in seen:
                seen.add(path)
                yield path


def _module_name(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0].replace("-", "_")


def read_module(path: Path) -> tuple[str, bytes]:
    """
    Read a module; the guest gets it unpacked.

    Raises:
        NodeError: It cannot be read, or is packed in a way that we do not know.
    """
    for suffix, unpack in _SUFFIXES:
        if path.name.endswith(suffix):
            try:
                return f"{_module_name(path.name)}.ko", unpack(path.read_bytes())
            except OSError as error:
                raise NodeError(f"cannot read the kernel module {path}: {error}") from error
    raise NodeError(f"cannot unpack the kernel module {path.name}: unknown kind of file")


def render_cpio(entries: Iterable[Entry]) -> bytes:
    """Write entries in the format that the kernel unpacks."""
    written = bytearray()
    for number, entry in enumerate((*entries, Entry(_CPIO_END, 0)), start=1):
        name = entry.name.encode() + b"\0"
        # inode, mode, owner, group, links, time, size, four device numbers, name size, checksum.
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
        header = _CPIO_MAGIC + "".join(f"{field:08x}" for field in fields)
        for part in (header.encode() + name, entry.data):
            written += part
            written += bytes(-len(written) % 4)
    return bytes(written)
