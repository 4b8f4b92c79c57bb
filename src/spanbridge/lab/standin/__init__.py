# SPDX-License-Identifier: Apache-2.0
"""
Stand-ins of KubeVirt's pods in a lab: where they run, and that they do.

The programs themselves are in `spanbridge.lab.kubevirt`.
"""

from spanbridge.lab.standin.standins import Standins, advertise, advertised, ensure_standins

__all__ = ["Standins", "advertise", "advertised", "ensure_standins"]
