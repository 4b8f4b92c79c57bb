# SPDX-License-Identifier: Apache-2.0
"""A headless browser, a report, and pages that note whatever goes wrong in them."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from spanbridge.model.timeline import Migration, Outcome, Sample
from spanbridge.report.verdict_html import render_html
from spanbridge.stretch.observing import RunSettings
from spanbridge.stretch.verify import verify
from spanbridge.testing.mesh import build_mesh
from spanbridge.testing.mesh_faults import observe

PICTURES = Path(__file__).resolve().parent.parent.parent / ".cache/reports/browser"
CLEAN = ("--no-sandbox", "--disable-background-networking", "--disable-component-update")
"""Root has no sandbox of Chromium's; and no page of ours needs it: they load nothing."""


@pytest.fixture(scope="session")
def browser(report: Path, large: Path) -> Iterator[Browser]:
    # Reports come first: the browser's driver keeps this thread's event loop running.
    del report, large
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(CLEAN))
        yield running
        running.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a cause on a node, one between clusters, a warning and a migration."""
    mesh = build_mesh({"east": 3, "west": 3, "north": 2}, seed=1)
    mesh.nodes["west/west-2"].uplink_vlans = {1}
    mesh.nodes["east/east-3"].delay_us = 9_000
    mesh.link_mtu["east", "north"] = 1500
    seen = dataclasses.replace(observe(mesh), migrations=(_migration(),))
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_html(verify(seen)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of so many endpoints that it is shown by cluster."""
    mesh = build_mesh(dict.fromkeys(("east", "west", "north", "south"), 20), sync=False)
    mesh.nodes["north/north-7"].uplink = False
    mesh.cut |= {("east", "west"), ("west", "east")}
    path = tmp_path_factory.mktemp("large") / "large.html"
    path.write_text(render_html(verify(observe(mesh, RunSettings(all_pairs_max=10)))), "utf-8")
    return path


def _migration() -> Migration:
    """One gibibyte that is dirtied while it is sent, in three iterations."""
    mib, left, sent = 1 << 20, 1024.0, 0.0
    samples = []
    for at in range(48):
        rate, dirty = 110 + 8 * (at * 7 % 5), 18 + 6 * (at * 3 % 4)
        samples.append(Sample(250 * at, int(sent * mib), int(left * mib), dirty * mib, rate * mib,
                              1 + at // 18))  # fmt: skip
        sent, left = sent + rate / 4, max(0.0, left - rate / 4 + dirty / 4)
    return Migration(
        "web", "east/east-1", "west/west-1", "pre-copy", Outcome.COMPLETED, 12_090,
        paused_at_ms=11_750, downtime_ms=62, seen_downtime_ms=81,
        migration0_bytes=int(sent * mib), samples=tuple(samples),
    )  # fmt: skip


@dataclasses.dataclass
class Opened:
    """A page, with what it complained about and what it wanted to load."""

    page: Page
    complaints: list[str]
    requests: list[str]

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page, for a person to look at."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


Open = Callable[..., Opened]


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Open]:
    """Open the report, or another file, in a window of its own."""
    pages = []

    def open_page(path: Path = report, *, width: int = 1280, **options: object) -> Opened:
        page = browser.new_page(viewport={"width": width, "height": 860}, **options)  # type: ignore[arg-type]  # options of playwright, as given
        pages.append(page)
        found = Opened(page, [], [])
        page.on("console", lambda message: found.complaints.append(message.text))
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on("request", lambda request: found.requests.append(request.url))
        page.goto(path.as_uri())
        return found

    yield open_page
    for page in pages:
        page.close()
