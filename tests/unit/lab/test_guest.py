# SPDX-License-Identifier: Apache-2.0
"""What of a guest can be seen without booting one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spanbridge.base.errors import NodeError
from spanbridge.lab import guest


def install_kernel(root: Path, release: str, *, modules: bool = True) -> Path:
    image = root / "boot" / f"vmlinuz-{release}"
    image.parent.mkdir(exist_ok=True)
    image.touch()
    if modules:
        folder = root / "lib/modules" / release
        folder.mkdir(parents=True)
        (folder / "modules.dep").touch()
    return image


def virtme(*shared: Path) -> list[str]:
    return guest.render_virtme(
        Path("/boot/vmlinuz-6"), ours=Path("/o"), shared=shared, memory="1G", cpus=1
    )


def test_the_newest_kernel_is_found_by_number_not_by_letter(tmp_path: Path) -> None:
    install_kernel(tmp_path, "6.1.0-9-amd64")
    newest = install_kernel(tmp_path, "6.1.0-10-amd64")

    assert guest.find_kernel(root=tmp_path) == newest


def test_a_kernel_without_its_modules_is_passed_over(tmp_path: Path) -> None:
    whole = install_kernel(tmp_path, "6.1.0-9-amd64")
    install_kernel(tmp_path, "6.12.0-1-amd64", modules=False)

    assert guest.find_kernel(root=tmp_path) == whole


def test_no_kernel_is_none(tmp_path: Path) -> None:
    assert guest.find_kernel(root=tmp_path) is None


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "find_kernel", lambda: None)

    with pytest.raises(NodeError, match="linux-image-amd64"):
        guest.run_in_guest(["true"])


def test_the_processor_is_emulated_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPANBRIDGE_GUEST_KVM", raising=False)
    assert "--disable-kvm" in virtme()

    monkeypatch.setenv("SPANBRIDGE_GUEST_KVM", "1")
    assert "--disable-kvm" not in virtme()


def test_the_machine_s_root_is_exported_read_only() -> None:
    exports = [word for word in virtme(Path("/a,b")) if word.startswith("local,")]

    assert "path=/,security" in exports[0]
    assert exports[0].endswith("readonly=on")
    assert "path=/a,,b,security" in exports[1]


def test_shared_directories_are_mounted_where_they_are() -> None:
    assert "rw0 \"$new\"'/a b'" in guest.render_start([Path("/a b")])


@pytest.mark.parametrize("script", [guest.render_start([]), guest.render_start([Path("/x")])])
def test_the_start_script_is_a_shell_script(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_command_runs_with_its_words_directory_and_environment(tmp_path: Path) -> None:
    script = guest.render_command(
        ["sh", "-c", 'echo "$PWD|$WHAT|$1"', "-", "it's"], env={"WHAT": "a b"}, cwd=tmp_path
    )

    output = subprocess.check_output(["bash", "-c", script], text=True)

    assert output == f"{tmp_path}|a b|it's\n"


def test_when_the_time_is_over_the_processes_are_ended(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        guest._run_bound(_marked_processes(tmp_path), tmpdir=tmp_path, timeout_s=2)

    assert_ended(tmp_path)


def test_processes_end_also_when_we_are_killed(tmp_path: Path) -> None:
    source = (
        "import sys; from pathlib import Path; from spanbridge.lab import guest;"
        "guest._run_bound(sys.argv[2:], tmpdir=Path(sys.argv[1]), timeout_s=60)"
    )
    starter = [sys.executable, "-c", source, str(tmp_path), *_marked_processes(tmp_path)]
    with subprocess.Popen(starter, stdout=subprocess.PIPE) as process:
        _wait_until(lambda: bool(_pids(tmp_path)))
        process.kill()

    assert_ended(tmp_path)


@pytest.mark.timeout(60)  # several programs start after another, beside the guest of another tier
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_guest_and_leaves_no_file(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    # A shell's background job has SIGINT ignored, and so would what it starts.
    source = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import sys; from pathlib import Path; from spanbridge.lab import guest;"
        "guest._require_kernel = lambda: Path('/k'); words = sys.argv[1:];"
        "guest.render_virtme = lambda *_, **__: words; sys.exit(guest.main(['true']))"
    )
    marked = _marked_processes(tmp_path)
    starter = [sys.executable, "-c", source, *marked]
    with subprocess.Popen(starter, env=os.environ | {"TMPDIR": str(tmp_path)}) as process:
        _wait_until(lambda: bool(_pids(tmp_path)))
        process.send_signal(number)

    assert process.returncode == code
    assert_ended(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _marked_processes(folder: Path) -> list[str]:
    """A shell with a child, as virtme has QEMU, told apart by a mark in their environment."""
    return ["sh", "-c", f"export MARK={folder}; sleep 300 & sleep 300; true"]


def _pids(folder: Path) -> list[str]:
    """Found by the mark: a process does not know its number outside of its own namespace."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"MARK={folder}\0".encode() in environment:
            found.append(process.name)
    return found


def assert_ended(folder: Path) -> None:
    _wait_until(lambda: not _pids(folder))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 18
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
