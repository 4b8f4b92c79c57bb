# SPDX-License-Identifier: Apache-2.0
"""What `spanbridge verify` has to say of a fault that a lab was given."""

from spanbridge.lab.faults.recipes import Scope
from spanbridge.lab.faults.records import Entry
from spanbridge.lab.faults.table import FAULTS
from spanbridge.lab.topology import Lab
from spanbridge.model.verdict import Diagnosis


def expected_code(lab: Lab, entry: Entry) -> str:
    """Tell the code of the cause that must be named first."""
    return FAULTS[entry.name].code_in(len(lab.clusters))


def blames(lab: Lab, entry: Entry, diagnosis: Diagnosis) -> bool:
    """Tell whether a diagnosis names the cause, and blames the place where the fault is."""
    if diagnosis.code != expected_code(lab, entry):
        return False
    match FAULTS[entry.name].scope:
        case Scope.NODE:
            return f"{entry.at.rpartition('-')[0]}/{entry.at}" in diagnosis.sites
        case Scope.CLUSTER:
            # Of its certificates there is neither node nor link to be blamed.
            linked = any(entry.at in link for link in diagnosis.links)
            sited = any(site.startswith(f"{entry.at}/") for site in diagnosis.sites)
            return linked or sited or f"cluster {entry.at}" in diagnosis.message
        case Scope.LINK:
            return tuple(sorted(entry.at.split(","))) in diagnosis.links
    return True
