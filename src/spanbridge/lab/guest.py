# SPDX-License-Identifier: Apache-2.0
"""
Run a command in a guest kernel, where the node's own kernel lacks VLANs.

The guest sees the machine's file system at the same paths. What the command writes
goes to memory and is gone with the guest; only the directories named in
``shared_dirs_rw`` are the machine's own. QEMU emulates the processor unless
``SPANBRIDGE_GUEST_KVM=1``, because there are machines on which /dev/kvm opens and a
kernel then never starts; a guess that hangs would be worse than a slow guest.

By hand: ``python -m spanbridge.lab.guest [--rw DIR] [--timeout SECONDS] -- COMMAND …``
"""

import argparse
import contextlib
import importlib.util
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Final, NoReturn

from spanbridge.base.errors import NodeError

MODULES: Final = (
    *("bridge", "8021q", "veth", "dummy", "macvlan", "tun"),
    *("nf_tables", "nft_chain_nat"),
)
"""Loaded before the command; a name the kernel has built in, or lacks, is passed over."""

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PROBES: Final = {
    "bridge VLAN filtering": "ip link add name br0 type bridge vlan_filtering 1",
    "802.1Q links": (
        "ip link add name br0 type bridge && ip link add link br0 name br0.2 type vlan id 2"
    ),
}
_PROBE_TIMEOUT_S: Final = 10
_KILL_TIMEOUT_S: Final = 10
_EMULATED_CPU: Final = ("-cpu", "Westmere,model-id=QEMU TCG CPU")
"""
A processor without what QEMU emulates slowly: AVX, page tables of five levels, checked access.

By its name it is still known as an emulated one. Source: QEMU target/i386/cpu.c.
"""

_OUR_MOUNT: Final = "/run/guest"
"""Where the guest's first programs find what we wrote for them."""


def kernel_lacks_vlans() -> str | None:
    """
    What this kernel lacks for a network with VLANs, in words; None when it lacks nothing.

    Tried for real, in a network namespace that ends with the trial.
    """
    missing = [what for what, command in _PROBES.items() if not _probe(command)]
    return " and ".join(missing) or None


def _probe(command: str) -> bool:
    flags = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
    done = subprocess.run(
        ["unshare", *flags, "sh", "-c", command],
        env=os.environ | {"PATH": f"{os.environ.get('PATH', '')}:{PATH}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_PROBE_TIMEOUT_S,
        check=False,
    )
    return done.returncode == 0


def find_kernel(*, root: Path = Path("/")) -> Path | None:
    """The newest installed kernel image that has its modules beside it."""
    images = [
        image
        for image in (root / "boot").glob("vmlinuz-*")
        if (root / "lib/modules" / _release(image) / "modules.dep").exists()
    ]
    return max(images, key=lambda image: _version_key(_release(image)), default=None)


def _release(image: Path) -> str:
    return image.name.removeprefix("vmlinuz-")


def _version_key(release: str) -> list[tuple[int, str]]:
    """Sorts 6.1.0-10 after 6.1.0-9."""
    parts = release.replace("-", ".").split(".")
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def run_in_guest(
    argv: Sequence[str],
    *,
    shared_dirs_rw: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
    timeout_s: float = 1800,
    memory: str = "2G",
    cpus: int = 1,
) -> int:
    """
    Run a command in a guest kernel; its output goes to our stdout as it comes.

    The command starts as root in the present working directory. No QEMU outlives this
    call, nor this process, however either ends.

    Args:
        argv: The command, found on the guest's PATH or absolute.
        shared_dirs_rw: Existing directories in which the command's writes are kept.
            Sockets and device nodes cannot be made in them.
        env: Added to a small standard environment; ours is not passed on.
        timeout_s: Counted from here, boot included.
        memory: As QEMU writes it.
        cpus: Virtual processors; a second one costs more than it brings: QEMU emulates them
            in threads that wait for each other.

    Returns:
        The command's exit code, or 128 plus the signal that ended it.

    Raises:
        NodeError: There is no kernel or no QEMU, or the guest ended before the command.
        TimeoutError: The time is over; the guest has been killed.
    """
    kernel = _require_kernel()
    shared = [path.resolve(strict=True) for path in shared_dirs_rw]
    with _termination_unwinds(), tempfile.TemporaryDirectory(prefix="spanbridge-guest-") as place:
        ours = Path(place) / "shared"
        ours.mkdir()
        (ours / "start.sh").write_text(render_start(shared))
        (ours / "command.sh").write_text(render_command(argv, env=env or {}, cwd=Path.cwd()))
        command = render_virtme(kernel, ours=ours, shared=shared, memory=memory, cpus=cpus)
        _run_bound(command, tmpdir=Path(place), timeout_s=timeout_s)
        try:
            return int((ours / "exit").read_text())
        except (FileNotFoundError, ValueError):
            raise NodeError(
                "cannot run the command in a guest kernel: the guest ended before the command did",
                hint="look at the output above; give the guest more memory",
            ) from None


@contextlib.contextmanager
def _termination_unwinds() -> Iterator[None]:
    """Let SIGTERM and SIGHUP clean up as Ctrl-C does; only the main thread can set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def unwind(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, unwind) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _require_kernel() -> Path:
    kernel = find_kernel()
    lacking = [
        what
        for what, there in (
            ("an installed kernel with its modules (Debian: linux-image-amd64)", kernel),
            ("qemu-system-x86_64 (Debian: qemu-system-x86)", _which(_qemu())),
            ("a static busybox (Debian: busybox-static)", _which("busybox")),
            ("virtme-ng (pip install virtme-ng)", importlib.util.find_spec("virtme")),
        )
        if there is None
    ]
    if kernel is None or lacking:
        raise NodeError(
            f"cannot start a guest kernel: there is no {', no '.join(lacking)}",
            hint="run `make setup` as root",
        )
    return kernel


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{PATH}")


def _qemu() -> str:
    return f"qemu-system-{platform.machine()}"


def render_virtme(
    kernel: Path, *, ours: Path, shared: Sequence[Path], memory: str, cpus: int
) -> list[str]:
    """
    The command that boots the guest and runs ``start.sh`` of the directory ``ours`` in it.

    The machine's root is exported twice: virtme mounts it without a cache, which makes
    every file access a round trip; ``start.sh`` mounts ours with one, which halves the
    time of everything that starts programs.
    """
    exports = [("root", Path("/"), ",readonly=on")]
    exports += [(f"rw{i}", path, "") for i, path in enumerate(shared)]
    devices: list[str] = []
    for tag, path, mode in exports:
        # QEMU reads a doubled comma as one that belongs to the value.
        where = str(path).replace(",", ",,")
        devices += [
            "-fsdev",
            f"local,id={tag},path={where},security_model=none,multidevs=remap{mode}",
        ]
        devices += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    kvm = os.environ.get("SPANBRIDGE_GUEST_KVM") == "1"
    return [
        *(
            sys.executable,
            "-c",
            "import sys; from virtme.commands.run import main; sys.exit(main())",
        ),
        *("--kimg", str(kernel), "--mods=auto", "--force-9p"),
        *("--cpus", str(cpus), "--memory", memory),
        # Page-table isolation and friends protect nobody here and cost an emulated CPU dearly.
        *("-a", "mitigations=off"),
        f"--rwdir={_OUR_MOUNT}={ours}",
        *("--cwd", "/"),
        *([] if kvm else ["--disable-kvm"]),
        *("--script-sh", f"exec bash {_OUR_MOUNT}/start.sh"),
        *("--qemu-opts", *([] if kvm else _EMULATED_CPU), *devices),
    ]


def render_start(shared: Sequence[Path]) -> str:
    """
    The guest's first script: build the command's root, enter it, run, leave the exit code.

    pivot_root rather than chroot: a process in a chroot may not make user namespaces.
    When we are not root outside, every file of root's seems to be nobody's in here, and a
    set-user-id program like mount would run as nobody: hence busybox, then nosuid.
    """
    mounts = "\n".join(
        f'mkdir -p "$new"{shlex.quote(str(path))} && '
        f'mount -t 9p -o "$p9" rw{i} "$new"{shlex.quote(str(path))}'
        for i, path in enumerate(shared)
    )
    return f"""\
set -e
mount() {{ busybox mount "$@"; }}
p9=trans=virtio,version=9p2000.L,msize=512000,access=any
new=/run/new
mount --make-rprivate /
mkdir -p /run/root /run/layer $new
mount -t 9p -o ro,nosuid,cache=loose,$p9 root /run/root
mount -t tmpfs layer /run/layer
mkdir /run/layer/upper /run/layer/work
layers=lowerdir=/run/root,upperdir=/run/layer/upper,workdir=/run/layer/work
mount -t overlay -o nosuid,$layers root $new
for kept in dev proc sys; do mount --rbind /$kept $new/$kept; done
mount -t tmpfs -o mode=0755 run $new/run
mkdir -p $new/run/old $new{_OUR_MOUNT}
mount --bind {_OUR_MOUNT} $new{_OUR_MOUNT}
{mounts}
modprobe -q -a {" ".join(MODULES)} || true
# virtme points these at a port that takes one writer; the command writes to a pipe instead.
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
ip link set lo up
cd $new
set +e
unshare --mount bash -c '
  pivot_root . run/old && cd / && umount -l /run/old || exit 125
  bash {_OUR_MOUNT}/command.sh </dev/null 2>&1 | cat
  exit ${{PIPESTATUS[0]}}'
echo $? >{_OUR_MOUNT}/exit
"""


def render_command(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> str:
    """The script that becomes the command."""
    standard = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}
    words = [f"{name}={value}" for name, value in (standard | dict(env)).items()]
    return f"cd {shlex.quote(str(cwd))} && exec env -i {shlex.join([*words, *argv])}\n"


def _run_bound(command: Sequence[str], *, tmpdir: Path, timeout_s: float) -> None:
    """
    Run a command whose processes all die with it, and it with us.

    They live in a process-id namespace: when its first process dies, the kernel kills the
    rest. setpriv and unshare carry our own death, even by SIGKILL, down to that process.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    bound = ["setpriv", "--pdeathsig", "KILL", "unshare", *user, "--pid", "--fork", "--kill-child"]
    environment = os.environ | {
        "PATH": f"{os.environ.get('PATH', '')}:{PATH}",
        "TMPDIR": str(tmpdir),  # virtme leaves files behind when it is killed
        "PYTHONWARNINGS": "ignore",
    }
    # Its own session: Ctrl-C reaches us alone, and we end the guest in our own order.
    with subprocess.Popen(
        [*bound, *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None  # noqa: S101  # PIPE above
        pump = threading.Thread(target=_pump, args=(process.stdout,), daemon=True)
        pump.start()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"cannot finish in a guest kernel: {timeout_s:.0f} s are over"
            ) from None
        finally:
            # Not SIGTERM: the first process of a namespace ignores it.
            process.kill()
            pump.join(_KILL_TIMEOUT_S)


def _pump(source: IO[bytes]) -> None:
    """Copy output to our stdout as it comes."""
    with contextlib.suppress(BrokenPipeError, ValueError):
        while chunk := os.read(source.fileno(), 65536):
            sys.stdout.write(chunk.decode(errors="replace"))
            sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit as the command does; 3 where no guest can be, 124 after a timeout, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m spanbridge.lab.guest",
        description="Run a command in a guest kernel; changes outside --rw directories are lost.",
    )
    parser.add_argument("--rw", action="append", default=[], type=Path, metavar="DIR")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--timeout", type=float, default=1800, metavar="SECONDS")
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    try:
        return run_in_guest(
            given.command,
            shared_dirs_rw=given.rw,
            env=dict(word.split("=", 1) for word in given.env),
            timeout_s=given.timeout,
            memory=given.memory,
            cpus=given.cpus,
        )
    except NodeError as exc:
        print(exc, file=sys.stderr)
        return 3
    except TimeoutError as exc:
        print(exc, file=sys.stderr)
        return 124
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
