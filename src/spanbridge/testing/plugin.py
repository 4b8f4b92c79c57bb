# SPDX-License-Identifier: Apache-2.0
"""Pytest fixtures."""
