# SPDX-License-Identifier: Apache-2.0
"""
Wire and inner shapes: network configuration, CNI call, results, desired state.

Owns the parsers (``parse_*``: raw JSON in, complete object or an error with a JSON
pointer out) and renderers (``render_*``). May import ``base``. Never touches the
kernel or the disk.
"""
