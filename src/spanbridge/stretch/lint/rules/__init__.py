# SPDX-License-Identifier: Apache-2.0
"""The rules, by what they look at."""
