# SPDX-License-Identifier: Apache-2.0
"""How a sandbox is entered; that it works, the netns tier proves by running."""

from pathlib import Path

import pytest

from spanbridge.testing import sandbox


def test_without_privileges_a_user_namespace_is_made() -> None:
    assert "--user" in sandbox.render_command(["true"], root=False)


def test_root_needs_no_user_namespace() -> None:
    assert "--user" not in sandbox.render_command(["true"], root=True)


def test_the_command_comes_last_and_whole() -> None:
    assert sandbox.render_command(["echo", "a b"], root=True)[-2:] == ["echo", "a b"]


def test_state_of_ours_lies_inside() -> None:
    environment = sandbox.render_environment({"PATH": "/bin", "KEPT": "yes"})

    assert environment["SPANBRIDGE_STATE"].startswith("/var/lib/")
    assert environment["SPANBRIDGE_RUN"].startswith("/run/")
    assert environment["KEPT"] == "yes"


def test_a_project_that_the_sandbox_would_hide_is_refused() -> None:
    assert "/var/lib" in (sandbox.missing(needed=[Path("/var/lib/runner/project")]) or "")


def test_a_copied_mark_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPANBRIDGE_SANDBOX", "1")

    assert not sandbox.inside()
