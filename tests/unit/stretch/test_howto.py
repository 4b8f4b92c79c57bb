# SPDX-License-Identifier: Apache-2.0
"""The page docs/howto/two-clusters.md, block by block, against saved objects."""

import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest

from spanbridge.testing.clusters import SavedClusters

PROJECT: Final = Path(__file__).parents[3]
PAGE: Final = (PROJECT / "docs/howto/two-clusters.md").read_text()

pytestmark = pytest.mark.timeout(120)


def blocks() -> dict[str, list[str]]:
    """The blocks of the page under their headings, in order; every fence is one to run."""
    found: dict[str, list[str]] = {}
    for heading, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE):
        fences = re.findall(r"^```(\w*)\n(.*?)^```", body, re.DOTALL | re.MULTILINE)
        assert all(kind == "sh" for kind, _ in fences), heading
        found[heading] = [text for _, text in fences]
    return found


@pytest.fixture
def page(clusters: SavedClusters, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What each section printed; each line of each block has succeeded."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    said = {}
    for heading, texts in blocks().items():
        done = clusters.run("bash", "-euc", "\n".join(texts))
        assert done.returncode == 0, f"{heading}: {done.stdout}{done.stderr}"
        said[heading] = done.stdout + done.stderr
    return said


def test_the_page_leads_from_an_intent_to_clusters_that_trust_each_other(
    page: dict[str, str], clusters: SavedClusters
) -> None:
    trust = page["5. Let them trust each other"]
    settings = clusters.read("west", "hyperconvergeds.hco.kubevirt.io", "kubevirt-hyperconverged")

    assert "nothing found" in page["2. Plan"]
    for heading in ("3. Apply to the first cluster", "4. Apply to the second cluster"):
        assert "✗" not in page[heading]
        assert "✓ synchronization addresses: 10.88.0." in page[heading]
    assert trust.count("✓ east trusts west") == trust.count("✓ west trusts east") == 2
    assert settings["spec"]["liveMigrationConfig"]["network"] == "migration-net"
    more = page["Later: a third cluster, more nodes"]
    assert "+++ b/north/network.yaml" in more
    assert "west: 10.88.0.10-10.88.0.17 (8 needed)" in more
    assert "plan is up to date." in more
    assert "north" in page["Later: one cluster fewer"]
    assert not (clusters.plan / "plan/north").exists()
