# SPDX-License-Identifier: Apache-2.0
"""Which attachments count as left behind."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from spanbridge.agent.journal import Attachment
from spanbridge.agent.stale import find_stale, observe_namespaces, open_host
from spanbridge.base.clock import boot_id
from spanbridge.rtnl import NetNs

MakeAttachment = Callable[..., Attachment]

OWN_NETNS = "/proc/self/ns/net"
GONE = "/run/netns/gone-for-good"


def causes(attachment: Attachment, alive: dict[tuple[int, int], str]) -> list[str]:
    return [each.cause for each in find_stale([attachment], alive)]


def test_a_sandbox_without_process_and_path_is_gone(make_attachment: MakeAttachment) -> None:
    assert causes(make_attachment(boot_id=boot_id(), netns=GONE), {}) == [f"{GONE} is gone"]


def test_a_namespace_with_the_number_of_a_dead_sandbox_is_another_one(
    make_attachment: MakeAttachment,
) -> None:
    own = Path(OWN_NETNS).stat()
    here = (own.st_dev, own.st_ino)
    attachment = make_attachment(boot_id=boot_id(), netns=GONE, host=here)

    assert causes(attachment, {attachment.sandbox: OWN_NETNS, here: OWN_NETNS}) == [
        f"{GONE} is gone"
    ]


def test_a_path_that_never_led_here_proves_nothing(make_attachment: MakeAttachment) -> None:
    assert causes(make_attachment(boot_id=boot_id(), netns=GONE, visible=False), {}) == []


def test_a_path_may_lead_to_another_namespace(
    make_attachment: MakeAttachment, tmp_path: Path
) -> None:
    place = tmp_path / "reused"
    place.touch()

    assert causes(make_attachment(boot_id=boot_id(), netns=str(place)), {}) == [
        f"{place} is another namespace now"
    ]


def test_a_path_that_still_leads_to_the_sandbox_keeps_it(
    make_attachment: MakeAttachment, tmp_path: Path
) -> None:
    place = tmp_path / "sandbox"
    place.touch()
    seen = place.stat()
    attachment = make_attachment(
        boot_id=boot_id(), netns=str(place), sandbox=(seen.st_dev, seen.st_ino)
    )

    assert causes(attachment, {}) == []


@pytest.mark.parametrize("visible", [True, False])
def test_a_reboot_ends_every_attachment(make_attachment: MakeAttachment, *, visible: bool) -> None:
    attachment = make_attachment(visible=visible)

    assert causes(attachment, {attachment.sandbox: "/proc/1/ns/net"}) == [
        "it was made before the last reboot"
    ]


def test_our_own_namespace_is_among_those_observed() -> None:
    own = Path("/proc/self/ns/net").stat()

    assert (own.st_dev, own.st_ino) in observe_namespaces()


def test_the_node_of_an_attachment_is_found_by_its_identity(
    make_attachment: MakeAttachment,
) -> None:
    own = Path(f"/proc/{os.getpid()}/ns/net").stat()
    attachment = make_attachment(boot_id=boot_id(), host=(own.st_dev, own.st_ino))
    with open_host(attachment, observe_namespaces()) as host, NetNs.current() as here:
        assert host == here
