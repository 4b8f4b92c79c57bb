# SPDX-License-Identifier: Apache-2.0
"""The reference page of the faults, made from their table."""

from typing import Final

from spanbridge.lab.faults.table import FAULTS
from spanbridge.model.findings import Severity
from spanbridge.stretch.diagnose.catalogue import CAUSES

_HEAD: Final = """\
# Faults of the lab

What `spanbridge lab fault NAME` does to a lab that is up, and what `spanbridge verify --lab`
then names first. Each fault is real: the commands that it prints are those that it ran, in
the kernel or on the running parts. What takes it back is in the state directory before
anything is done, so that `spanbridge lab fault --clear` works after a crash too, and leaves
the state of links, addresses, routes, VLANs and filters as it was. A pod that was taken off
the network is attached anew, and has another MAC address then.

Two faults can be had at once where they do not change the same thing; otherwise the second
one is refused, with the name of the first. `--at` chooses another place than the last node
or cluster, or the first two clusters. `lab status` names the faults that a lab has, and
`lab down` needs none of them cleared.

The stand-ins of virt-handlers and sync controllers are started first where they do not run:
what is broken afterwards must not keep them from it.

"Row" is that of the table in [failures.md](failures.md); the codes are explained in
[verify.md](verify.md). `loss` and `latency` need a kernel with netem, `stateful-filter` one
with connection tracking; the others need nothing that a lab does not need.

Made from the code by `tools/rule_pages.py`. What needs neither VLANs, leases, our plugin nor
netem is injected, verified and cleared by `tests/netns/lab/test_lab_faults_verified.py`; the
others are by `tests/vm/verify/test_lab_faults.py`.

| fault | strikes | what happens | row | `verify` names first |
| --- | --- | --- | --- | --- |
"""


def render_page() -> str:
    """Write the page."""
    lines = []
    for fault in FAULTS.values():
        cause = f"{fault.code} {CAUSES[fault.code].title}"
        if CAUSES[fault.code].severity is Severity.WARNING:
            cause += " (a warning)"
        if fault.pair_code:
            cause += f"; in a lab of two clusters {fault.pair_code}"
        rows = ", ".join(map(str, fault.rows))
        lines.append(f"| `{fault.name}` | {fault.scope} | {fault.text} | {rows} | {cause} |")
    return _HEAD + "\n".join(lines) + "\n"
