# SPDX-License-Identifier: Apache-2.0
"""The page docs/howto/install-on-a-node.md, command by command, under a real systemd."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from .conftest import Systemd
else:
    Systemd = Any

PROJECT: Final = Path(__file__).parents[3]
PAGE: Final = (PROJECT / "docs/howto/install-on-a-node.md").read_text()
EXAMPLE: Final = "".join(re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL))

INSTEAD: Final = {
    # From the network; what they bring is here already.
    "apt-get install": "true",
    "python3 -m venv": f"ln -s {PROJECT}/.venv /opt/spanbridge",
    "/opt/spanbridge/bin/pip install": "true",
}


def _sections() -> dict[str, list[str]]:
    """The commands of the page under their headings, in order."""
    found: dict[str, list[str]] = {}
    fence = ""
    for line in PAGE.splitlines():
        if line.startswith("```"):
            fence = line.removeprefix("```")
        elif fence == "console":
            assert line.startswith("# "), line
            found[list(found)[-1]].append(line.removeprefix("# "))
        elif not fence and line.startswith("#"):
            found[line.lstrip("# ")] = []
    return found


def _script(commands: list[str]) -> str:
    """Shell lines that print each command as the page has it, and run it from /run."""
    lines = ["cd /run"]
    for command in commands:
        kept = [other for start, other in INSTEAD.items() if command.startswith(start)]
        text = kept[0] if kept else command.replace(" deploy/", f" {PROJECT}/deploy/")
        lines += [f"echo {shlex.quote('# ' + command)}", text]
    return "\n".join(lines)


def _answer_to(command: str, transcript: str) -> str:
    """What the last such command printed."""
    parts = re.split(r"^# (.+)$", transcript, flags=re.MULTILINE)
    answers = dict(zip(parts[1::2], parts[2::2], strict=True))
    return next(answers[each] for each in reversed(answers) if each.startswith(command))


# The first one runs the whole page.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def page(systemd: Systemd) -> dict[str, str]:
    """What each section printed, in the order of the page; each command has succeeded."""
    systemd.run(f"cat > /run/try.json <<'END'\n{EXAMPLE}END\n")
    return {heading: systemd.run(_script(lines)) for heading, lines in _sections().items() if lines}


def test_every_section_has_commands_that_succeed(page: dict[str, str]) -> None:
    assert len(page) == 9
    assert "spanbridge, version" in page["Program"]


def test_the_programs_are_in_place(page: dict[str, str]) -> None:
    listed = _answer_to("ls -A", page["Programs for the container runtime"]).split()

    assert set(listed) == {".spanbridge-oneshot", "bridge", "dhcp", "host-local", "static"}


def test_systemd_finds_no_fault_in_the_units_and_runs_them(page: dict[str, str]) -> None:
    assert _answer_to("systemd-analyze verify", page["Service"]).strip() == ""
    assert _answer_to("systemctl is-active", page["Service"]).split() == ["active", "active"]
    assert "/run/spanbridge/agent.sock" in _answer_to("spanbridge agent status", page["Service"])


def test_the_first_attachment_is_known_to_the_agent_until_it_is_deleted(
    page: dict[str, str],
) -> None:
    transcript = page["A first attachment"]

    assert "1 received" in _answer_to("ip netns exec try ping", transcript)
    assert "10.88.0.2/24" in transcript.partition("# ip netns exec")[0]
    assert "10.88.0.2" not in _answer_to("spanbridge agent attachments", transcript)


def test_the_figures_are_served(page: dict[str, str]) -> None:
    assert "spanbridge_agent_calls_in_flight 0.0" in page["Figures"]


def test_the_log_is_in_the_journal(page: dict[str, str]) -> None:
    assert '"msg": "ready"' in _answer_to(
        "journalctl --no-pager -n", page["When something is wrong"]
    )


def test_nothing_is_left_after_the_last_section(page: dict[str, str], systemd: Systemd) -> None:
    assert page["Uninstall"]
    left = systemd.run(
        "ls -A /etc/systemd/system /opt/cni/bin /opt /var/lib; systemctl list-units --all --plain"
    )
    assert "spanbridge" not in left
