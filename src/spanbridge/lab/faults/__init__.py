# SPDX-License-Identifier: Apache-2.0
"""Faults that a lab can be given, one or several at a time, and that go away without a trace."""
