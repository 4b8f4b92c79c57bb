# SPDX-License-Identifier: Apache-2.0
"""Tags and names by which things are found again, on every node and after every upgrade."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.names import ifname_fault
from spanbridge.model.owner import ALIAS_MAX_BYTES, Owner, network_tag

PODS = Owner.of("migration", "0123abc", "migration0")
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
OWNERS = st.builds(Owner.of, TEXTS, TEXTS, TEXTS)


def test_the_tag_never_changes_between_releases() -> None:
    assert PODS.tag == "sb1:8a6cead4385ed439:70ef66beb3858f51"
    assert network_tag("migration") == "sb1:8a6cead4385ed439:"


def test_the_port_names_never_change_between_releases() -> None:
    assert [PODS.port_name(attempt) for attempt in (0, 1, 2)] == [
        "veth699329bd",
        "veth57576c29",
        "veth39a1dacb",
    ]


def test_the_tag_is_made_of_sha256_of_its_parts() -> None:
    network = hashlib.sha256(b"migration").hexdigest()[:16]
    attachment = hashlib.sha256(b"0123abc\0migration0").hexdigest()[:16]

    assert PODS.tag == f"sb1:{network}:{attachment}"


@given(OWNERS)
def test_tags_and_names_fit_where_they_are_put(owner: Owner) -> None:
    assert len(owner.tag) == 37
    assert owner.tag.isascii()
    assert owner.tag.startswith(network_tag(owner.network))
    assert len(owner.alias("ready").encode()) <= ALIAS_MAX_BYTES
    assert all(ifname_fault(owner.port_name(attempt)) is None for attempt in range(3))
    assert len(owner.port_name().encode()) <= 15


@given(OWNERS, OWNERS)
def test_different_attachments_have_different_tags_and_names(one: Owner, other: Owner) -> None:
    assert (one.tag == other.tag) is (one == other)
    assert (one.port_name() == other.port_name()) is (one == other)


def test_parts_do_not_run_together() -> None:
    assert Owner.of("n", "ab", "c").tag != Owner.of("n", "a", "bc").tag
    assert Owner.of("na", "b", "c").port_name() != Owner.of("n", "ab", "c").port_name()


def test_the_alias_says_whose_port_it_is_to_a_human() -> None:
    assert PODS.alias("ready") == f"{PODS.tag} ready migration 0123abc migration0"


def test_a_long_alias_is_cut_between_characters() -> None:
    alias = Owner.of("nö" * 200, "c", "eth0").alias("ready")

    assert 250 < len(alias.encode()) <= 255
    assert "�" not in alias
