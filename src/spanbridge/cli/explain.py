# SPDX-License-Identifier: Apache-2.0
"""`spanbridge explain`: what a configuration will do, touching nothing."""

import json
import sys
from pathlib import Path

import click

from spanbridge.cli.options import examples, format_option


@click.command(
    epilog=examples(
        "spanbridge explain /etc/cni/net.d/10-bridge.conflist",
        "spanbridge explain --format json bridge-net.yaml",
        "oc get net-attach-def bridge-net -o yaml | spanbridge explain -",
    )
)
@click.argument("file", type=click.Path(allow_dash=True, path_type=Path))
@format_option("text", "json")
def explain(*, file: Path, output_format: str) -> None:
    """
    Say what the bridge plugin will do with a configuration, touching nothing.

    FILE is a CNI conf, a conflist, or YAML with NetworkAttachmentDefinitions; - reads
    standard input. Plugins of a conflist that are not the bridge plugin are passed over.
    """
    from spanbridge.cni.explain import PLUGIN_TYPES
    from spanbridge.cni.explain import explain as explain_one
    from spanbridge.kube.documents import parse_documents, read_documents
    from spanbridge.report.explain import join_texts, render_json

    found = (
        parse_documents(sys.stdin.read(), "standard input")
        if str(file) == "-"
        else read_documents(file)
    )
    ours = [one for one in found if one.root.text("type") in PLUGIN_TYPES] or found[:1]
    explanations = [explain_one(one.root, one.origin) for one in ours]
    if output_format == "json":
        click.echo(json.dumps([render_json(one) for one in explanations], indent=2))
    else:
        click.echo(join_texts(explanations), nl=False)
