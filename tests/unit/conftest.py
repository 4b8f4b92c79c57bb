# SPDX-License-Identifier: Apache-2.0
"""Properties are about values, not about how busy this machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "busy-machine", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy-machine")
