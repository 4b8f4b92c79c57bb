# SPDX-License-Identifier: Apache-2.0
"""`spanbridge lab`: two clusters on this machine."""

import click


@click.group()
def lab() -> None:
    """Two clusters on this machine that reach each other over a VLAN."""
