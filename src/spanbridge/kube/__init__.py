# SPDX-License-Identifier: Apache-2.0
"""
Kubernetes objects as we read and write them.

May import ``model`` and ``base``; never decides anything.
"""
