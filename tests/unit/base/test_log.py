# SPDX-License-Identifier: Apache-2.0
"""Log lines: logfmt on standard error, one event a line."""

import pytest

from spanbridge.base import log


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        (5, "5"),
        (None, "None"),
        ("/vlanTrunk/0", "/vlanTrunk/0"),
        ("häß", "häß"),
        ("a\\b", "a\\b"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', '"say \\"x\\""'),
        ("a \\ b", '"a \\\\ b"'),
        ("a\nlevel=error", '"a\\nlevel=error"'),
        ("a\r\x1b[31m\x00", '"a\\r\\x1b[31m\\x00"'),
        ("\ud800", '"\\ud800"'),
    ],
    ids=repr,
)
def test_a_value_is_quoted_where_a_reader_would_split_it(
    capsys: pytest.CaptureFixture[str], value: object, written: str
) -> None:
    log.warn("event", key=value)

    assert capsys.readouterr().err == f"level=warning msg=event key={written}\n"


def test_an_error_has_its_level_and_keeps_the_order_of_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.error("cannot undo it", network="n", cause=OSError("busy"))
    out, err = capsys.readouterr()

    assert (out, err) == ("", 'level=error msg="cannot undo it" network=n cause=busy\n')


def test_the_sink_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, str, dict[str, object]]] = []
    monkeypatch.setattr(log, "sink", lambda *event: events.append(event))
    log.warn("event", key=5)

    assert events == [("warning", "event", {"key": 5})]
