# SPDX-License-Identifier: Apache-2.0
"""
Build step for the native shim; all else about the package stands in pyproject.toml.

Without a C compiler, or where the shim cannot be built, the package is complete but for
it: `spanbridge cni install` then installs the one-shot program only, and says so.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from setuptools import Command, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

SOURCE: Final = "shim/shim.c"
TARGET: Final = "spanbridge/cni/shim"

OPTIONS: Final = [
    *["-std=c11", "-O2", "-s", "-fPIE", "-static-pie"],
    *["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"],
    *["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"],
    "-Wl,-z,relro,-z,now,-z,noexecstack",
]


MUSL: Final = f"{platform.machine()}-linux-musl"
"""Where Debian's package musl-dev has headers and objects, below /usr/include and /usr/lib."""


def compiler() -> list[str]:
    """Return the command of the C compiler; empty where there is none."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    return [name for name in ("cc", "gcc", "clang") if shutil.which(name)][:1]


def with_musl(command: list[str]) -> list[str]:
    """
    Have a compile command use musl instead of the machine's own C library.

    A static program of glibc asks the processor for its features when it starts. In a
    virtual machine each question goes to the hypervisor: 0.2 of the shim's 0.45 ms. The
    wrapper that comes with musl cannot link an executable that loads anywhere.
    """
    place = Path("/usr/lib", MUSL)
    files = [str(place / name) for name in ("rcrt1.o", "crti.o", "crtn.o", "libc.a")]
    start, first, last, library = files
    printed = subprocess.run(
        [command[0], "-print-file-name=include"], stdout=subprocess.PIPE, text=True, check=False
    )
    headers = [f"/usr/include/{MUSL}", printed.stdout.strip()]
    include = [word for each in headers for word in ("-isystem", each)]
    return [*command, "-nostdinc", *include, "-nostdlib", start, first, library, "-lgcc", last]


def commands(version: str, target: Path) -> list[list[str]]:
    """Return the commands that may make the shim, the best first; none without a compiler."""
    if not compiler():
        return []
    define = f'-DSPANBRIDGE_VERSION="{version}"'
    plain = [*compiler(), *OPTIONS, define, "-o", str(target), SOURCE]
    return [with_musl(plain), plain] if Path("/usr/lib", MUSL, "rcrt1.o").exists() else [plain]


class BuildShim(Command):
    """Compile shim/shim.c into the package, statically."""

    description = "compile the native shim"
    user_options = [("build-lib=", "d", "where the package is put together")]  # noqa: RUF012
    editable_mode = False
    build_lib: str | None

    def initialize_options(self) -> None:
        """Start without a target."""
        self.build_lib = None

    def finalize_options(self) -> None:
        """Build where the modules go, or beside their source for an editable installation."""
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def _target(self) -> Path:
        return Path("src" if self.editable_mode else self.build_lib) / TARGET

    def run(self) -> None:
        """Compile; say why not, and go on, where that fails."""
        target = self._target()
        target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        cause = "there is no C compiler"
        for command in commands(self.distribution.get_version(), target):
            print(shlex.join(command))
            done = subprocess.run(command, check=False)
            cause = f"{command[0]} failed, see above" if done.returncode else ""
            if not cause:
                break
        if cause:
            print(f"spanbridge: the shim is not built: {cause}", file=sys.stderr)
        else:
            target.chmod(0o755)

    def get_source_files(self) -> list[str]:
        """What a source distribution needs for this step."""
        return [SOURCE]

    def get_outputs(self) -> list[str]:
        """What this step adds to a wheel."""
        return [str(self._target())]

    def get_output_mapping(self) -> dict[str, str]:
        """Nothing is copied from the source tree."""
        return {}


class BuildAll(build):
    """The usual build, and the shim."""

    sub_commands = [*build.sub_commands, ("build_shim", None)]  # noqa: RUF012


class PlatformWheel(bdist_wheel):
    """A wheel for any Python 3, but for one kind of machine."""

    def get_tag(self) -> tuple[str, str, str]:
        """The shim is static: it needs no C library, and no Python."""
        return "py3", "none", f"linux_{platform.machine()}"


setup(
    cmdclass={"build": BuildAll, "build_shim": BuildShim, "bdist_wheel": PlatformWheel},
)
