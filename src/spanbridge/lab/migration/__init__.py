# SPDX-License-Identifier: Apache-2.0
"""
Parts of a live migration in the lab; ``spanbridge.lab.migrate`` puts them together.

``request`` says what is wanted, ``stream`` drives both QEMUs, ``crossing`` leads the stream
through the stand-ins of KubeVirt, ``meter`` counts its bytes, ``records`` keeps the outcome.
"""
