# SPDX-License-Identifier: Apache-2.0
"""A skip nobody announced is a failure."""

import pytest

PLUGIN = ("--disable-plugin-autoload", "-p", "spanbridge.testing.skips")


@pytest.fixture
def skipping(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("SPANBRIDGE_ALLOW_SKIPS", raising=False)
    pytester.makeini("[pytest]\nexpected_skips = expected.txt")
    pytester.makepyfile("import pytest\ndef test_it():\n    pytest.skip('no dummy links here')")
    return pytester


def test_an_unannounced_skip_fails_and_gives_its_reason(skipping: pytest.Pytester) -> None:
    result = skipping.runpytest_inprocess(*PLUGIN)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*unexpected skip: no dummy links here*"])


def test_an_announced_skip_stays_a_skip(skipping: pytest.Pytester) -> None:
    (skipping.path / "expected.txt").write_text("# links\nno dummy links here\n")

    skipping.runpytest_inprocess(*PLUGIN).assert_outcomes(skipped=1)


def test_another_reason_does_not_cover_a_skip(skipping: pytest.Pytester) -> None:
    (skipping.path / "expected.txt").write_text("no dummy links\n")

    skipping.runpytest_inprocess(*PLUGIN).assert_outcomes(failed=1)


def test_the_variable_lets_every_skip_pass(
    skipping: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPANBRIDGE_ALLOW_SKIPS", "1")

    skipping.runpytest_inprocess(*PLUGIN).assert_outcomes(skipped=1)


def test_a_skip_by_mark_fails(skipping: pytest.Pytester) -> None:
    skipping.makepyfile(
        "import pytest\n@pytest.mark.skip(reason='later')\ndef test_it():\n    pass"
    )

    skipping.runpytest_inprocess(*PLUGIN).assert_outcomes(errors=1)


def test_a_module_that_skips_itself_fails(skipping: pytest.Pytester) -> None:
    skipping.makepyfile("import pytest\npytest.skip('not today', allow_module_level=True)")

    skipping.runpytest_inprocess(*PLUGIN).assert_outcomes(errors=1)


def test_an_expected_failure_is_no_skip(skipping: pytest.Pytester) -> None:
    skipping.makepyfile("import pytest\n@pytest.mark.xfail\ndef test_it():\n    assert False")

    skipping.runpytest_inprocess(*PLUGIN).assert_outcomes(xfailed=1)
