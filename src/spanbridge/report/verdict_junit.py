# SPDX-License-Identifier: Apache-2.0
"""
A verdict as JUnit XML, for continuous integration.

Two suites: one case for each cause that was found, so that a run fails also where every
pair answers; and one case for each ordered pair.
"""

import re
import xml.etree.ElementTree as ET
from typing import Final

from spanbridge.model.findings import Severity
from spanbridge.model.verdict import Diagnosis, PairState, PairVerdict, Verdict
from spanbridge.report.verdict_views import headline

_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What XML cannot hold, not even escaped. Source: XML 1.0, section 2.2."""


def render_junit(verdict: Verdict) -> str:
    """Make the XML document."""
    root = ET.Element("testsuites", name="spanbridge verify")
    suites = (_causes(verdict), _pairs(verdict))
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    text = _UNPRINTABLE.sub("\ufffd", ET.tostring(root, encoding="unicode"))
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _suite(name: str, verdict: Verdict, cases: list[ET.Element]) -> ET.Element:
    suite = ET.Element("testsuite", name=name, timestamp=verdict.observations.taken_at)
    for count, tag in (("failures", "failure"), ("errors", "error")):
        suite.set(count, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("tests", str(len(cases)))
    suite.extend(cases)
    return suite


def _causes(verdict: Verdict) -> ET.Element:
    cases = [_cause(each) for each in verdict.diagnoses]
    fine = ET.Element("testcase", classname="spanbridge.verify", name=headline(verdict))
    return _suite("causes", verdict, cases or [fine])


def _cause(diagnosis: Diagnosis) -> ET.Element:
    name = f"{diagnosis.code} {diagnosis.message}"
    case = ET.Element("testcase", classname="spanbridge.verify", name=name)
    text = "\n".join(
        [diagnosis.consequence, "", "Seen:", *diagnosis.evidence, "", "Mend:", *diagnosis.remedies]
    )
    if diagnosis.severity is Severity.ERROR:
        failure = ET.SubElement(case, "failure", type=diagnosis.code, message=diagnosis.message)
        failure.text = text
    else:
        ET.SubElement(case, "system-out").text = text
    return case


def _pairs(verdict: Verdict) -> ET.Element:
    causes: dict[tuple[str, str], list[str]] = {}
    for diagnosis in verdict.diagnoses:
        for pair in diagnosis.pairs:
            causes.setdefault(pair, []).append(diagnosis.code)
    homes = {each.name: each.cluster for each in verdict.observations.endpoints}
    cases = []
    for each in verdict.pairs:
        classname = f"spanbridge.verify.{homes[each.source]}.{homes[each.target]}"
        case = ET.Element("testcase", classname=classname, name=f"{each.source} > {each.target}")
        _judge(case, each, causes.get(each.pair, []))
        cases.append(case)
    return _suite("pairs", verdict, cases)


def _judge(case: ET.Element, pair: PairVerdict, codes: list[str]) -> None:
    if pair.state is PairState.GOOD:
        return
    tag = "error" if pair.state is PairState.UNKNOWN else "failure"
    message = f"{pair.state}: {', '.join(pair.troubles)}"
    if codes:
        message += f"; explained by {', '.join(codes)}"
    ET.SubElement(case, tag, type=str(pair.state), message=message)
