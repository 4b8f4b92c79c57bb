# SPDX-License-Identifier: Apache-2.0
"""What lint does with findings: places, suppression, selection, edits."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.base.errors import InputError
from spanbridge.model.findings import Finding, Severity
from spanbridge.stretch.lint import RULES, apply_edits, find_rule, lint, parse_codes
from spanbridge.stretch.lint.examples import as_clusters, unmarked
from spanbridge.stretch.lint.registry import Edit, nad

EXAMPLE = """\
{
  "cniVersion": "0.3.1",
  "name": "bridge-net",
  "type": "bridge",
  "isGateway": true,
  "vlan": 2,
  "ipam": {"type": "dhcp"}
}
"""
"""The example of the OpenShift Virtualization documentation, as it is printed."""


def found(files: Mapping[str, str]) -> tuple[Finding, ...]:
    return lint(as_clusters(files)).findings


def codes(files: Mapping[str, str]) -> list[str]:
    return [each.code for each in found(files)]


def test_the_documentations_example_fails_for_three_reasons() -> None:
    findings = {each.code: each for each in found(nad(EXAMPLE, name="bridge-net"))}

    assert "no uplink" in findings["SB030"].message
    assert "every node" in findings["SB031"].message
    assert "no DHCP server can be reached" in findings["SB055"].message
    assert findings["SB055"].severity is Severity.ERROR


def test_the_gateway_is_told_apart_by_plugin() -> None:
    finding = next(each for each in found({"a.conf": EXAMPLE}) if each.code == "SB031")

    assert "the router that the DHCP server names on cni0.2" in finding.message
    assert "With Spanbridge the address stays on its node" in finding.consequence


@pytest.mark.parametrize(
    ("subject", "consequence"), [("bridge", "uplink"), ("isGateway", "router")]
)
def test_findings_say_what_happens_and_what_to_write(subject: str, consequence: str) -> None:
    texts = [each for each in found({"a.conf": EXAMPLE}) if subject in each.remedy + each.message]

    assert any(consequence in each.consequence for each in texts)
    assert all(each.remedy for each in texts)


def test_places_inside_of_manifests_are_places_in_the_file() -> None:
    finding = next(each for each in found(nad(EXAMPLE)) if each.code == "SB031")

    assert str(finding.position) == "nad.yaml:12:7"


MANIFEST = unmarked(nad('{"cniVersion": "1.0.0", "type": "bridge", "bridge": "br",\n "vlan": 2}'))[
    "nad.yaml"
]


@pytest.mark.parametrize(
    "text",
    [
        MANIFEST.replace("  config: |", "  # spanbridge: ignore[SB041]\n  config: |"),
        MANIFEST.replace("  config: |", "  config: |  # spanbridge: ignore[SB012, sb041]"),
        MANIFEST.replace(
            "metadata:", "metadata:\n  annotations: {spanbridge.io/ignore: SB041}\n", 1
        ),
        MANIFEST.replace('"vlan"', '"spanbridge.io/ignore": ["SB041"], "vlan"'),
    ],
    ids=["comment above", "comment beside", "annotation", "member"],
)
def test_what_the_author_knows_is_not_told(text: str) -> None:
    assert codes({"nad.yaml": MANIFEST}) == ["SB041"]
    assert codes({"nad.yaml": text}) == []


def test_a_comment_is_about_its_own_line_only() -> None:
    text = MANIFEST.replace("kind:", "# spanbridge: ignore[SB041]\nkind:")

    assert codes({"nad.yaml": text}) == ["SB041"]


def test_another_code_in_a_comment_changes_nothing() -> None:
    text = MANIFEST.replace("  config: |", "  config: |  # spanbridge: ignore[SB040]")

    assert codes({"nad.yaml": text}) == ["SB041"]


def test_only_the_rules_asked_for_are_asked() -> None:
    clusters = as_clusters({"a.conf": EXAMPLE})

    assert [each.code for each in lint(clusters, codes=["SB030"]).findings] == ["SB030"]


def test_codes_are_read_by_prefix_and_name() -> None:
    assert parse_codes(["SB030,sb031", "no-dhcp-server"]) == {"SB030", "SB031", "SB055"}
    assert parse_codes(["SB13"]) == {"SB130", "SB131"}
    with pytest.raises(InputError, match="none of that code") as caught:
        find_rule("SB30")
    assert "SB" in caught.value.hint


def test_all_that_the_plugin_refuses_is_told_at_once() -> None:
    text = EXAMPLE.replace('"vlan": 2', '"vlan": "2", "mtu": 40, "hairpinMode": "yes"')

    assert {"SB023", "SB027"} <= set(codes({"a.conf": text.replace("0.3.1", "0.2.0")}))
    assert codes({"a.conf": text.replace("0.3.1", "0.2.0")}).count("SB027") == 2
    assert "SB020" in codes({"a.conf": text.replace("0.3.1", "0.2.0")})


FIXABLE = ("SB013", "SB041", "SB027", "SB080", "SB084")


@pytest.mark.parametrize("code", FIXABLE)
def test_fixing_the_wrong_example_leaves_nothing_to_find(code: str) -> None:
    files = unmarked(find_rule(code).wrong)
    edits = lint(as_clusters(files)).edits
    fixed = {name: apply_edits(text, [each for each in edits if each.file == name])
             for name, text in files.items()}  # fmt: skip

    assert fixed != files
    assert codes(fixed) == []


def test_only_these_rules_change_anything() -> None:
    fixing = {rule.code for rule in RULES if lint(as_clusters(rule.wrong)).edits}

    assert fixing == set(FIXABLE)


def test_a_key_in_a_quoted_scalar_is_renamed_in_place() -> None:
    config = '{\\"cniVersion\\": \\"1.0.0\\", \\"type\\": \\"bridge\\", \\"BRIDGE\\": \\"br\\"}'
    text = MANIFEST.partition("  config:")[0] + f'  config: "{config}"\n'
    edits = lint(as_clusters({"nad.yaml": text})).edits

    assert apply_edits(text, edits) == text.replace("BRIDGE", "bridge")


def test_nothing_is_inserted_where_quotes_are_escaped() -> None:
    config = '{\\"cniVersion\\": \\"1.0.0\\", \\"type\\": \\"bridge\\", \\"vlan\\": 2}'
    text = MANIFEST.partition("  config:")[0] + f'  config: "{config}"\n'
    verdict = lint(as_clusters({"nad.yaml": text}))

    assert "SB041" in {each.code for each in verdict.findings}
    assert verdict.edits == ()


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3), st.text(max_size=3))))
def test_edits_that_do_not_meet_are_all_made(parts: list[tuple[str, str, str]]) -> None:
    old, new, edits = "", "", []
    for kept, replaced, by in parts:
        old += f"{kept}<"
        new += f"{kept}<{by}"
        edits.append(Edit("x", len(old), len(old) + len(replaced), by))
        old += replaced

    assert apply_edits(old, reversed(edits)) == new


def test_of_two_edits_of_one_place_the_first_is_made() -> None:
    edits = [Edit("x", 2, 4, "second"), Edit("x", 0, 3, "first")]

    assert apply_edits("abcdef", edits) == "firstdef"
