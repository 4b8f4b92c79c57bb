# SPDX-License-Identifier: Apache-2.0
"""The same call to the reference's program and to our package."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from spanbridge.base.errors import SpanbridgeError
from spanbridge.ipam import IpamCall, open_for_release, open_ipam
from spanbridge.model.netconf import IpamConf
from spanbridge.model.reader import parse_object
from spanbridge.model.request import parse_request
from spanbridge.model.result import render_result

PROGRAMS: Final = next(
    filter(Path.is_dir, map(Path, ("/usr/lib/cni", "/opt/cni/bin"))), Path("/usr/lib/cni")
)
"""Where Debian's package containernetworking-plugins puts them; elsewhere by hand."""

Answer = dict[str, Any] | None
Section = Mapping[str, object]


def _environ(verb: str, owner: str, ifname: str, args: str) -> dict[str, str]:
    return {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": owner,
        "CNI_IFNAME": ifname,
        "CNI_NETNS": "/run/netns/x",
        "CNI_PATH": str(PROGRAMS),
        "CNI_ARGS": args,
    }


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """Drop the empty ``dns``, which the reference writes at all times before 1.9."""
    return {key: value for key, value in document.items() if (key, value) != ("dns", {})}


def _document(section: Section, data_dir: Path, top: Section) -> bytes:
    full = {"type": "host-local"} | dict(section)
    if full["type"] == "host-local":
        full["dataDir"] = str(data_dir)
    base = {"cniVersion": "1.0.0", "name": "n", "type": "bridge", "ipam": full}
    return json.dumps(base | dict(top)).encode()


def _run_theirs(environ: dict[str, str], program: str, stdin: bytes) -> Answer:
    """Run the reference's program; None when it fails."""
    run = subprocess.run(
        [PROGRAMS / program], input=stdin, env=environ, capture_output=True, check=False
    )
    if run.returncode:
        return None
    return _plain(json.loads(run.stdout)) if run.stdout else {}


def _run_ours(environ: dict[str, str], program: str, stdin: bytes) -> Answer:
    """Call our package; None when it fails."""
    root = parse_object(stdin)
    node = root.node("ipam")
    assert node is not None
    version = root.text("cniVersion")
    call = IpamCall(version, "n", IpamConf(program, node), root)
    try:
        request = parse_request(environ, stdin)
        if request.verb == "DEL":
            open_for_release(request, call).release()
            return {}
        return _plain(render_result(open_ipam(request, call).add(), version))
    except SpanbridgeError:
        return None


def _caller(
    run: Callable[[dict[str, str], str, bytes], Answer], root: Path
) -> Callable[..., Answer]:
    def call(
        verb: str,
        section: Section,
        owner: str,
        *,
        ifname: str = "eth0",
        args: str = "",
        data_dir: str = "shared",
        **top: object,
    ) -> Answer:
        stdin = _document(section, root / data_dir, top)
        program = str(section.get("type", "host-local"))
        return run(_environ(verb, owner, ifname, args), program, stdin)

    return call


@pytest.fixture
def theirs(tmp_path: Path) -> Callable[..., Answer]:
    """``theirs(verb, section, owner, ifname=, args=, data_dir=, **top)``."""
    assert (PROGRAMS / "host-local").exists(), "apt-get install containernetworking-plugins"
    return _caller(_run_theirs, tmp_path)


@pytest.fixture
def ours(tmp_path: Path) -> Callable[..., Answer]:
    """The same call to our package."""
    return _caller(_run_ours, tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str], dict[str, bytes]]:
    """Read what is reserved in a data directory, and where each set goes on."""

    def read(data_dir: str) -> dict[str, bytes]:
        found = (tmp_path / data_dir / "n").iterdir()
        return {each.name: each.read_bytes() for each in found if each.name != "lock"}

    return read
