# SPDX-License-Identifier: Apache-2.0
"""Where a lab runs, and why."""

import pytest

from spanbridge.lab.ground import MARK, Ground, choose_ground, observe_ground


@pytest.mark.parametrize(
    ("lacking", "root", "ground"),
    [
        (None, True, Ground.HERE),
        (None, False, Ground.USER_NAMESPACE),
        ("VLANs", True, Ground.GUEST),
        ("VLANs", False, Ground.GUEST),
    ],
    ids=["root", "user", "root without VLANs", "user without VLANs"],
)
def test_the_ground_follows_from_the_kernel_and_the_user(
    lacking: str | None,
    root: bool,  # noqa: FBT001  # a parameter of the test
    ground: Ground,
) -> None:
    assert choose_ground(lacking=lacking, root=root).ground is ground


def test_the_reason_names_what_is_lacking() -> None:
    assert (
        "lacks bridge VLAN filtering"
        in choose_ground(lacking="bridge VLAN filtering", root=True).reason
    )


def test_a_command_that_moved_does_not_move_again() -> None:
    assert observe_ground({MARK: "guest kernel"}).ground is Ground.HERE
