# SPDX-License-Identifier: Apache-2.0
"""
What every other package stands on: errors, identifiers, atomic files, locks, log.

Imports nothing of ours, and only cheap parts of the standard library: the
one-shot plugin pays for every import on the path of a starting pod.
"""
