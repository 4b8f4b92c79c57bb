# SPDX-License-Identifier: Apache-2.0
"""
Who KubeVirt's certificates say that somebody is, and the ports where one asks.

Source: KubeVirt 1.9, pkg/virt-operator/resource/generate/components/secrets.go and
daemonsets.go; pkg/virt-operator/resource/apply/core.go.
"""

import enum
from typing import Final

HEALTH_PORT: Final = 8443
"""Of virt-handlers and sync controllers: /healthz, for anybody."""

SYNC_PORT: Final = 9185
"""Of the sync controller that leads."""

BUNDLE: Final = "ca-bundle"
"""File of the certificates that a cluster trusts: key of the ConfigMap kubevirt-ca."""


class Identity(enum.StrEnum):
    """A certificate with its key; the value is the stem of its file."""

    HANDLER_SERVER = "virt-handler-server"
    HANDLER_CLIENT = "virt-handler-client"
    """What KubeVirt 1.6 migrated with; from 1.7 on it is refused."""
    MIGRATION_CLIENT = "migration-client"
    SYNC_SERVER = "sync-server"
    SYNC_CLIENT = "sync-client"

    @property
    def common_name(self) -> str:
        """The name that a peer insists on."""
        return _COMMON_NAMES[self]

    @property
    def is_server(self) -> bool:
        """Whether it is shown to those who dial."""
        return self in {Identity.HANDLER_SERVER, Identity.SYNC_SERVER}

    @property
    def file(self) -> str:
        """Name of the file with certificate and key."""
        return f"{self}.pem"


_COMMON_NAMES: Final = {
    Identity.HANDLER_SERVER: "kubevirt.io:system:node:virt-handler",
    Identity.HANDLER_CLIENT: "kubevirt.io:system:client:virt-handler",
    Identity.MIGRATION_CLIENT: "kubevirt.io:system:client:migration",
    Identity.SYNC_SERVER: "kubevirt.io:system:node:virt-synchronization-controller",
    Identity.SYNC_CLIENT: "kubevirt.io:system:client:virt-synchronization-controller",
}
