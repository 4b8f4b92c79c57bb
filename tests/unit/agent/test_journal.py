# SPDX-License-Identifier: Apache-2.0
"""The attachment journal: what survives, what is set aside."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.agent.journal import (
    Attachment,
    Journal,
    parse_attachment,
    render_attachment,
)
from spanbridge.base.errors import DecodeError
from spanbridge.model.owner import Owner

MakeAttachment = Callable[..., Attachment]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
IDENTITIES = st.tuples(st.integers(0, 2**63), st.integers(0, 2**63))
ATTACHMENTS = st.builds(
    Attachment,
    owner=st.builds(Owner.of, TEXT, TEXT, TEXT),
    program=TEXT,
    netns=TEXT,
    sandbox=IDENTITIES,
    visible=st.booleans(),
    host=IDENTITIES,
    boot_id=TEXT,
    attached_s=st.floats(0, 2e9),
    args=st.just("") | TEXT,
    path=TEXT,
    config=st.binary(min_size=1),
    result=st.dictionaries(TEXT, TEXT),
)


@given(ATTACHMENTS)
def test_a_record_is_read_back_as_it_was(attachment: Attachment) -> None:
    assert parse_attachment(render_attachment(attachment)) == attachment


@given(st.binary())
def test_whatever_is_in_a_file_it_is_read_or_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_attachment(data)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"network": ""},
        {"containerId": 5},
        {"sandbox": [1]},
        {"host": ["a", "b"]},
        {"visible": "yes"},
        {"attached": "today"},
        {"attached": True},
        {"config": None},
        {"result": []},
    ],
    ids=str,
)
def test_a_damaged_field_is_refused_by_name(
    make_attachment: MakeAttachment, change: dict[str, object]
) -> None:
    document = json.loads(render_attachment(make_attachment())) | change

    with pytest.raises(DecodeError, match=next(iter(change))):
        parse_attachment(json.dumps(document).encode())


def test_a_successor_finds_what_was_written(
    make_attachment: MakeAttachment, tmp_path: Path
) -> None:
    written = [make_attachment("c2", attached_s=2.0), make_attachment("c1", attached_s=1.0)]
    first = Journal(tmp_path / "attachments")
    for each in written:
        first.put(each)

    assert Journal(tmp_path / "attachments").all() == written[::-1]


def test_each_attachment_has_a_file_of_its_own_named_by_its_tag(
    make_attachment: MakeAttachment, tmp_path: Path
) -> None:
    attachment = make_attachment()
    Journal(tmp_path).put(attachment)

    assert [path.name for path in tmp_path.iterdir()] == [f"{attachment.owner.tag}.json"]
    assert (tmp_path / f"{attachment.owner.tag}.json").stat().st_mode & 0o777 == 0o600


def test_a_second_add_of_one_owner_replaces_the_first(
    make_attachment: MakeAttachment, tmp_path: Path
) -> None:
    journal = Journal(tmp_path)
    journal.put(make_attachment(attached_s=1.0))
    journal.put(make_attachment(attached_s=2.0))

    assert [each.attached_s for each in journal.all()] == [2.0]
    assert [each.attached_s for each in Journal(tmp_path).all()] == [2.0]


def test_a_dropped_attachment_is_gone_from_memory_and_disk(
    make_attachment: MakeAttachment, tmp_path: Path
) -> None:
    journal, attachment = Journal(tmp_path), make_attachment()
    journal.put(attachment)

    assert journal.drop(attachment.owner) == attachment
    assert journal.drop(attachment.owner) is None
    assert (len(journal), list(tmp_path.iterdir())) == (0, [])


def test_a_damaged_file_is_set_aside_and_the_others_are_read(
    make_attachment: MakeAttachment, tmp_path: Path
) -> None:
    Journal(tmp_path).put(make_attachment())
    (tmp_path / "sb1:dead:beef.json").write_bytes(b'{"version": 1, "netw')

    assert len(Journal(tmp_path)) == 1
    assert (tmp_path / "sb1:dead:beef.json.damaged").exists()
    assert len(Journal(tmp_path)) == 1


def test_what_a_killed_agent_was_writing_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".sb1:dead:beef").write_bytes(b'{"version": 1')
    Journal(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_older_record(
    make_attachment: MakeAttachment, tmp_path: Path
) -> None:
    journal, attachment = Journal(tmp_path), make_attachment()
    journal.put(attachment)
    (tmp_path / f".{attachment.owner.tag}").mkdir()
    with pytest.raises(OSError, match="directory"):
        journal.put(make_attachment(attached_s=5.0))

    assert journal.all() == [attachment]


def test_the_addresses_of_a_result_are_listed(make_attachment: MakeAttachment) -> None:
    assert make_attachment().addresses == ["10.1.2.3/24"]
    assert make_attachment(result={"cniVersion": "1.1.0"}).addresses == []
