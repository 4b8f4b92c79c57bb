# SPDX-License-Identifier: Apache-2.0
"""
Pytest plugin: a skip that nobody announced is a failure.

A skipped test looks like a passed one in a closing line. So each reason stands in the
file that the ini option ``expected_skips`` names, one a line, ``#`` for comments; any
other skip fails with its reason. ``SPANBRIDGE_ALLOW_SKIPS=1`` lifts this, for a
machine that cannot run a tier.
"""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option."""
    parser.addini("expected_skips", "file with the reasons of expected skips, one a line")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge a test's report."""
    report = yield
    return _judge(report, item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the report of a module that skipped itself as a whole."""
    report = yield
    return _judge(report, collector.config)


def _judge(report: _Report, config: pytest.Config) -> _Report:
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return report
    reason = _reason(report.longrepr)
    if os.environ.get("SPANBRIDGE_ALLOW_SKIPS") == "1" or reason in _expected(config):
        return report
    report.outcome = "failed"
    report.longrepr = (
        f"unexpected skip: {reason}\n"
        f"Make it run, or add the reason to {config.getini('expected_skips')}; "
        "SPANBRIDGE_ALLOW_SKIPS=1 lets every skip pass."
    )
    return report


def _reason(longrepr: object) -> str:
    """Pytest holds a skip as (path, line, ``Skipped: reason``)."""
    text = str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ").strip()


def _expected(config: pytest.Config) -> set[str]:
    path = config.rootpath / str(config.getini("expected_skips") or "")
    if not path.is_file():
        return set()
    lines = (line.strip() for line in path.read_text().splitlines())
    return {line for line in lines if line and not line.startswith("#")}
