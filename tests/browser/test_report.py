# SPDX-License-Identifier: Apache-2.0
"""The report in a browser: as it looks, by keyboard, on a phone, printed, without JavaScript."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

PHONE = 390
LEAST_CONTRAST = 4.5
"""Source: WCAG 2.2, success criterion 1.4.3."""

_CONTRAST = """
(selectors) => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const part = rgb.slice(0, 3).map((each) => each / 255)
      .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  return selectors.map((selector) => {
    const element = document.querySelector(selector);
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    return [selector, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}
"""
_TEXTS = ["h1", ".verdict p", "nav a", ".cause .code", ".cause .kind", ".cause > p", ".seen",
          ".command code", "td.good", "td.poor", "td.cut", ".legend", ".about", "footer p",
          ".plain thead th", ".gauge.short", "caption"]  # fmt: skip


def _visible_rows(page: Page) -> list[str]:
    rows = page.locator("#matrix tbody tr:visible th span").all_inner_texts()
    return [str(each) for each in rows]


def _focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('aria-label') || ''"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, PHONE], ids=["desktop", "phone"])
def test_the_report_opens_without_a_complaint(
    opened: Callable[..., Any], width: int, scheme: str
) -> None:
    found = opened(width=width, color_scheme=scheme)
    found.page.wait_for_selector("#rtt-chart canvas")
    found.picture(f"{'phone' if width == PHONE else 'desktop'}-{scheme}")
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith("file:")] == []
    assert len(found.requests) == 1
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_ground(opened: Callable[..., Any], scheme: str) -> None:
    found = opened(color_scheme=scheme)
    poor = {
        selector: ratio
        for selector, ratio in found.page.evaluate(_CONTRAST, _TEXTS)
        if ratio < LEAST_CONTRAST
    }
    assert poor == {}


def test_a_filter_is_typed_and_cleared_by_keyboard(opened: Callable[..., Any]) -> None:
    page: Page = opened().page
    page.keyboard.press("/")
    expect(page.locator("#find")).to_be_focused()
    page.keyboard.type("west-2")
    expect(page.locator("#count")).to_have_text("14 of 62 pairs")
    assert "west-2" in _visible_rows(page)
    assert "east-1 sync" not in _visible_rows(page)
    page.keyboard.press("Enter")
    assert _focused(page) == "east-1 to west-2: cut, no neighbour, no answer"
    page.locator("#find").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#count")).to_have_text("62 of 62 pairs")


def test_arrows_move_in_the_matrix_and_tell_about_each_pair(opened: Callable[..., Any]) -> None:
    page: Page = opened().page
    page.locator("#metric").focus()
    page.keyboard.press("Tab")  # the button that clears
    page.keyboard.press("Tab")
    for key in ("End", "Home", "ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    assert _focused(page).startswith("east-3 to east-2: poor")
    expect(page.locator("#about")).to_contain_text("east-3 (east) → east-2 (east)")
    expect(page.locator("#about")).to_contain_text("SBV81")
    assert page.locator("#matrix td[tabindex='0']").count() == 1


def test_a_state_and_a_number_are_chosen_by_keyboard(opened: Callable[..., Any]) -> None:
    page: Page = opened().page
    page.locator("#state").focus()
    page.keyboard.type("cut")
    expect(page.locator("#count")).to_have_text("14 of 62 pairs")
    page.locator("#metric").focus()
    page.keyboard.type("path")
    page.locator("#find").fill("north-1")
    page.locator("#state").select_option("poor")
    assert "1500" in page.locator("#matrix tbody").inner_text()


def test_a_cause_shows_its_pairs_in_the_matrix(opened: Callable[..., Any]) -> None:
    page: Page = opened().page
    button = page.locator("button.show[data-code='SBV43']")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#code")).to_have_value("SBV43")
    expect(page.locator("#count")).to_have_text("14 of 62 pairs")
    assert "north-1" in _focused(page)


def test_the_theme_can_be_chosen_and_the_charts_follow(opened: Callable[..., Any]) -> None:
    page: Page = opened(color_scheme="light").page
    grounds = []
    for _ in range(3):
        page.locator("#theme").press("Enter")
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] == grounds[2] != grounds[1]
    assert page.locator("canvas").count() == 2


def test_hovering_a_cell_tells_about_the_pair(opened: Callable[..., Any]) -> None:
    page: Page = opened().page
    page.locator("#matrix td.cut").first.hover()
    expect(page.locator("#about")).to_contain_text("west-2")
    expect(page.locator("#about")).to_contain_text("SBV01")


def test_it_can_be_read_without_javascript(opened: Callable[..., Any]) -> None:
    found = opened(java_script_enabled=False)
    expect(found.page.locator("h1")).to_have_text("Not ready: 2 causes to mend")
    expect(found.page.locator("#causes")).to_contain_text("Uplink eth1 of west-2")
    expect(found.page.locator("#matrix td.cut").first).to_have_text("✗")
    expect(found.page.locator("#filters")).to_be_hidden()
    expect(found.page.locator("svg.topology")).to_be_visible()


def test_it_can_be_printed(opened: Callable[..., Any]) -> None:
    page: Page = opened(color_scheme="dark").page
    assert page.pdf(format="A4", print_background=True).startswith(b"%PDF")
    page.emulate_media(media="print")
    expect(page.locator("#filters")).to_be_hidden()
    expect(page.locator("nav")).to_be_hidden()
    expect(page.locator("#cause-1")).to_be_visible()


def test_a_reader_of_the_screen_is_told_what_is_drawn(opened: Callable[..., Any]) -> None:
    page: Page = opened().page
    assert page.locator("table:not(.u-legend) th:not([scope])").count() == 0
    assert page.locator("[role=img]:not([aria-label]):not([aria-labelledby])").count() == 0
    assert page.locator("#filters input:not(label *), #filters select:not(label *)").count() == 0
    words = page.locator("#drawing-words").text_content() or ""
    assert "west-2: handler 10.88.2.12, standby 10.88.2.201; SBV01" in words
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_a_large_mesh_is_shown_by_cluster(opened: Callable[..., Any], large: Path) -> None:
    found = opened(large)
    found.picture("large")
    assert _visible_rows(found.page) == ["east", "west", "north", "south"]
    found.page.keyboard.press("/")
    found.page.keyboard.type("west")
    expect(found.page.locator("#count")).to_have_text("7 of 16 pairs")
    assert found.complaints == []
