# SPDX-License-Identifier: Apache-2.0
"""
What is wrong with one node, and what mends it; pure.

A check looks at one bridge, or at the node as a whole, and yields an outcome for each
thing that it looked at. Their order is that of causes: what is named first should be
mended first.
"""

from spanbridge.stretch.doctor.addresses import NF_CALL, Question
from spanbridge.stretch.doctor.case import Options
from spanbridge.stretch.doctor.checks import CHECKS, Check, diagnose, list_questions

__all__ = ["CHECKS", "NF_CALL", "Check", "Options", "Question", "diagnose", "list_questions"]
