# SPDX-License-Identifier: Apache-2.0
"""What the lab's guests boot, looked at by the tools that are made for it."""

import lzma
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.lab.vm.image import (
    Entry,
    module_order,
    read_module,
    render_cpio,
    unpack_kernel,
)

DEPENDENCIES = """\
kernel/a/virtio.ko: kernel/a/virtio_ring.ko
kernel/a/virtio_ring.ko:
kernel/b/virtio-net.ko.xz: kernel/b/failover.ko kernel/a/virtio.ko kernel/a/virtio_ring.ko
kernel/b/failover.ko:
"""


def test_an_archive_has_the_files_that_busybox_finds_in_it(tmp_path: Path) -> None:
    archive = render_cpio(
        [
            Entry("bin", stat.S_IFDIR | 0o755),
            Entry("bin/odd", stat.S_IFREG | 0o750, b"12345"),
            Entry("init", stat.S_IFREG | 0o755, b"#!/bin/sh\n"),
        ]
    )
    subprocess.run(
        ["busybox", "cpio", "-id"], input=archive, cwd=tmp_path, check=True, capture_output=True
    )
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["bin", "init", "odd"]
    assert (tmp_path / "bin/odd").read_bytes() == b"12345"
    assert stat.S_IMODE((tmp_path / "bin/odd").stat().st_mode) == 0o750


def test_a_module_comes_after_all_that_it_needs_and_only_once() -> None:
    assert list(module_order(DEPENDENCIES, ["virtio", "virtio_net"])) == [
        "kernel/a/virtio_ring.ko",
        "kernel/a/virtio.ko",
        "kernel/b/failover.ko",
        "kernel/b/virtio-net.ko.xz",
    ]


def test_a_module_that_the_kernel_has_built_in_is_passed_over() -> None:
    assert list(module_order(DEPENDENCIES, ["tun"])) == []


def test_a_packed_module_is_unpacked(tmp_path: Path) -> None:
    packed = tmp_path / "virtio-net.ko.xz"
    packed.write_bytes(lzma.compress(b"module"))
    assert read_module(packed) == ("virtio_net.ko", b"module")


def test_a_module_that_is_packed_in_another_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"cannot unpack the kernel module virtio\.ko\.zst"):
        read_module(tmp_path / "virtio.ko.zst")


def _elf() -> bytes:
    """Make an ELF file: one segment to load, 8 bytes at 120, and something after it."""
    header = b"\x7fELF\x02\x01".ljust(32, b"\0") + struct.pack("<QQIHHH", 64, 0, 0, 64, 56, 1)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 120, 0, 0, 8, 8, 8)
    return header.ljust(64, b"\0") + segment + b"Xen\0code" + b"symbols"


def _image(payload: bytes) -> bytes:
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 0, len(payload))
    return bytes(image) + payload


def test_a_kernel_is_unpacked_and_what_is_not_loaded_is_cut_off() -> None:
    assert unpack_kernel(_image(lzma.compress(_elf()))) == _elf().removesuffix(b"symbols")


@pytest.mark.parametrize("payload", [b"\x28\xb5\x2f\xfdzstd", b"\xfd7zXZ broken", b""])
def test_a_kernel_that_cannot_be_unpacked_is_left_to_qemu(payload: bytes) -> None:
    assert unpack_kernel(_image(payload)) is None


def test_a_file_that_is_no_kernel_is_left_to_qemu() -> None:
    assert unpack_kernel(bytes(2048)) is None
