# SPDX-License-Identifier: Apache-2.0
"""Files by which the node's own network manager keeps an uplink across reboots."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from spanbridge.bridge import Site
from spanbridge.bridge.uplink.changes import ensure, release
from spanbridge.bridge.uplink.keep import WAYS, detect_manager, keep, remove_files
from spanbridge.bridge.uplink.record import Ledger
from spanbridge.model.uplink import parse_wish
from spanbridge.rtnl import NetNs
from spanbridge.testing.crash import killed_at_every_change

if TYPE_CHECKING:
    from tests.netns.uplink.conftest import Host

FILES: Final = {
    "networkd": {
        "etc/systemd/network/10-spanbridge-br-mig.netdev": 0o644,
        "etc/systemd/network/10-spanbridge-br-mig.network": 0o644,
        "etc/systemd/network/10-spanbridge-eth1.network": 0o644,
    },
    "networkmanager": {
        "etc/NetworkManager/system-connections/spanbridge-br-mig.nmconnection": 0o600,
        "etc/NetworkManager/system-connections/spanbridge-eth1.nmconnection": 0o600,
    },
}
SIGNS: Final = {
    "networkd": "run/systemd/netif/state",
    "networkmanager": "run/NetworkManager/NetworkManager.pid",
    "nmstate": "var/log/containers/nmstate-handler-x7_openshift-nmstate_handler.log",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of the node's file system."""
    made = tmp_path / "root"
    made.mkdir()
    return made


def _files(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): path.stat().st_mode & 0o777
        for path in root.rglob("*")
        if path.is_file()
    }


def _put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("manager", FILES)
def test_files_are_written_and_release_removes_them(host: "Host", root: Path, manager: str) -> None:
    line = f"ensure eth1 --bridge br-mig --persist {manager} --root {root}"
    said = host.uplink(line)

    assert _files(root) == FILES[manager]
    assert all(f"wrote {root}/{path}" in said.out for path in FILES[manager])
    assert "at once: " in said.err
    mac = host.links()["br-mig"]["address"]
    assert any(mac in path.read_text().lower() for path in root.rglob("*br-mig.n*"))
    assert "wrote" not in host.uplink(line).out

    released = host.uplink("release eth1")
    assert (released.code, "knows them until: " in released.err) == (0, True)
    assert (_files(root), host.picture()[2]) == ({}, "[]")


def test_a_manager_is_found_by_what_it_leaves_on_a_running_node(root: Path) -> None:
    assert detect_manager(root) == ""
    for manager, sign in SIGNS.items():
        _put(root / sign)
        assert detect_manager(root) == manager, "NMState works through NetworkManager"


@pytest.mark.parametrize("manager", FILES)
def test_print_shows_the_files_and_writes_none(host: "Host", root: Path, manager: str) -> None:
    _put(root / SIGNS[manager])
    before = _files(root)

    said = host.uplink(f"ensure eth1 --bridge br-mig --persist print --root {root}")

    assert _files(root) == before
    assert all(f"# {path}\n" in said.out for path in FILES[manager])
    assert "made eth1 a port of br-mig" in said.err


def test_the_policy_of_nmstate_is_printed(host: "Host", root: Path) -> None:
    said = host.uplink(f"ensure eth1 --bridge br-mig --persist nmstate --root {root}")

    assert "kind: NodeNetworkConfigurationPolicy" in said.out
    assert _files(root) == {}


def test_auto_leaves_the_machines_manager_alone_in_another_network_namespace(
    host: "Host", root: Path
) -> None:
    _put(root / SIGNS["networkd"])

    said = host.uplink(f"ensure eth1 --bridge br-mig --root {root}")

    assert set(_files(root)) == {SIGNS["networkd"]}
    assert "not the machine's own network namespace" in said.err


def test_without_a_manager_the_command_says_so(host: "Host", root: Path) -> None:
    said = host.uplink(f"ensure eth1 --bridge br-mig --persist print --root {root}")

    assert (said.code, "no network manager that we know runs here" in said.err) == (0, True)


@pytest.mark.parametrize("manager", FILES)
def test_a_file_of_somebody_else_is_not_overwritten_and_none_is_written(
    host: "Host", root: Path, manager: str
) -> None:
    theirs = root / list(FILES[manager])[-1]
    _put(theirs, "[Match]\nName=eth1\n")

    said = host.uplink(f"ensure eth1 --bridge br-mig --persist {manager} --root {root}")

    assert (said.code, "a file of somebody else is there" in said.err) == (3, True)
    assert theirs.read_text() == "[Match]\nName=eth1\n"
    assert len(_files(root)) == 1
    assert host.uplink("release eth1").code == 0
    assert theirs.exists()


@pytest.mark.parametrize("manager", FILES)
def test_a_file_that_was_changed_since_stays_and_is_named(
    host: "Host", root: Path, manager: str
) -> None:
    line = f"ensure eth1 --bridge br-mig --persist {manager} --root {root}"
    host.uplink(line)
    changed = root / list(FILES[manager])[-1]
    changed.write_text(changed.read_text() + "# mine\n")

    again = host.uplink(line + " --mtu 1400")
    assert (again.code, "it was changed since we wrote it" in again.err) == (3, True)

    said = host.uplink("release eth1")
    assert (said.code, str(changed) in said.err) == (1, True)
    assert list(_files(root)) == [str(changed.relative_to(root))]
    assert host.picture()[2] == "[]"


def test_another_wish_replaces_the_files_and_another_manager_moves_them(
    host: "Host", root: Path
) -> None:
    line = f"ensure eth1 --bridge br-mig --root {root}"
    host.uplink(f"{line} --persist networkd")
    host.uplink(f"{line} --persist networkd --mtu 1400")
    port = root / "etc/systemd/network/10-spanbridge-eth1.network"
    assert "MTUBytes=1400" in port.read_text()

    host.uplink(f"{line} --persist networkmanager --mtu 1400")
    assert _files(root) == FILES["networkmanager"]


def test_the_files_of_a_bridge_stay_for_its_other_uplink(host: "Host", root: Path) -> None:
    host.sh("ip link add eth2 type veth peer name far2")
    for device in ("eth1", "eth2"):
        host.uplink(f"ensure {device} --bridge br-mig --persist networkd --root {root}")

    host.uplink("release eth1")
    names = sorted(Path(path).name for path in _files(root))
    assert names == [
        "10-spanbridge-br-mig.netdev",
        "10-spanbridge-br-mig.network",
        "10-spanbridge-eth2.network",
    ]

    host.uplink("release eth2")
    assert _files(root) == {}


def test_the_command_offers_every_way_to_keep_an_uplink(host: "Host") -> None:
    words = host.uplink("ensure --help").out

    assert f"[{'|'.join(WAYS)}]" in words


def _on(host: "Host", work: Callable[[Site, Ledger], object]) -> Callable[[], object]:
    def run() -> object:
        with (
            NetNs.open(str(host.netns.path)) as netns,
            Site(netns, None, sandbox_path="", run_dir=host.place / "run") as site,
        ):
            return work(site, Ledger(host.place / "state/uplinks"))

    return run


@pytest.mark.timeout(120)
@pytest.mark.parametrize("manager", FILES)
def test_killed_at_every_change_of_a_file_the_next_call_converges(
    host: "Host", root: Path, manager: str
) -> None:
    _put(root / "etc/systemd/network/other.network")

    def work(mtu: int) -> Callable[[], object]:
        def make(site: Site, ledger: Ledger) -> object:
            done = ensure(site, ledger, parse_wish("eth1", "br-mig", (), mtu))
            return keep(site, ledger, done.record, way=manager, root=root)

        return _on(host, make)

    def undo(site: Site, ledger: Ledger) -> object:
        record = ledger.read("eth1")
        if record is None:
            return None
        assert remove_files(site, ledger, record).left == ()
        return release(site, ledger, record.wish.device)

    for steps in killed_at_every_change(work(1400)):
        if steps % 2:
            _on(host, undo)()
            assert set(_files(root)) == {"etc/systemd/network/other.network"}, steps
        else:
            work(1300)()
            assert {*_files(root)} == {*FILES[manager], "etc/systemd/network/other.network"}
    for _ in killed_at_every_change(_on(host, undo)):
        pass

    assert set(_files(root)) == {"etc/systemd/network/other.network"}
    assert host.picture()[2] == "[]"
