# SPDX-License-Identifier: Apache-2.0
"""
Facts to text, JSON and pictures; pure.

May import ``model`` and ``base``; never fetches, decides or touches anything.
"""
