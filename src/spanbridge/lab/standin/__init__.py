# SPDX-License-Identifier: Apache-2.0
"""Stand-ins of the pods of KubeVirt in a lab: where they run, and that they do."""
