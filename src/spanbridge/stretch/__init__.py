# SPDX-License-Identifier: Apache-2.0
"""
Networks that stretch over clusters: plan them, lint them, verify them.

Owns the planner. May import kube, report, model and base. Pure: never touches the
kernel, a cluster or the disk, so that everything can be replayed from files.
"""
