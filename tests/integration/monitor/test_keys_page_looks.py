"""The page of keys in a real browser: with no, few and many keys, on a phone and a desk, by day and by night."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from support import Place, ServerProcess
from support.browser import Theme, looked_at, save_picture
from support.flower import Flower
from support.server import running
from support.told_fleet import ToldFleet

pytestmark = pytest.mark.xdist_group("browser")

FLAWS = """() => {
  const found = [];
  const width = document.documentElement.clientWidth;
  const nameOf = (element) => `${element.className} '${element.textContent.slice(0, 60)}'`;
  const isSeen = (element) => element.checkVisibility() && !element.closest(".visually-hidden");
  const boxes = [];
  for (const element of document.querySelectorAll("#keys-page *")) {
    if (!isSeen(element)) continue;
    const box = element.getBoundingClientRect();
    const hides = ["hidden", "clip"].includes(getComputedStyle(element).overflowX);
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (hasText && (box.width < 8 || box.height < 8)) found.push(`no room: ${nameOf(element)}`);
    if (box.right > width + 1 || box.left < -1) found.push(`beyond the window: ${nameOf(element)}`);
    if (!hides && element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== "inline")
      found.push(`wider than its box: ${nameOf(element)}`);
    if (hasText) boxes.push([element, box, element.closest("tr, .metric-card, .fleet-card-head, .page-header")]);
  }
  for (const [one, a, place] of boxes) {
    for (const [other, b, otherPlace] of boxes) {
      if (one === other || place !== otherPlace || one.contains(other) || other.contains(one)) continue;
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 2 && high > 3) found.push(`over each other: ${nameOf(one)} and ${nameOf(other)}`);
    }
  }
  return found;
}"""
"""What is wrong with how the page is laid out, in words."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running(ServerProcess(tmp_path_factory.mktemp("s"))) as server:
        yield server


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory, server: ServerProcess) -> Iterator[Flower]:
    place = Place(tmp_path_factory.mktemp("flower"))
    flower = Flower(place, server.url)
    flower.wait_until_it_answers()
    yield flower
    place.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("keys", [0, 3, 200])
def test_nothing_is_cut_off_or_beyond_the_window(
    browser: Browser, flower: Flower, server: ServerProcess, keys: int, width: int, theme: Theme
) -> None:
    with server.client() as client:
        ToldFleet(client).tell(keys)
    with looked_at(browser, f"{flower.url}/keys", width=width, theme=theme) as page:
        page.wait_for_selector("#live-dot.status-dot-live")
        page.wait_for_function(f"document.querySelectorAll('#keys-rows > tr').length === {min(keys, 25)}")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.evaluate(FLAWS) == []
        assert page.evaluate("document.documentElement.dataset.bsTheme") == theme
        save_picture(page, f"keys-{keys}-{width}-{theme}")


def test_a_key_that_its_provider_refuses_can_be_enabled_and_disabled(
    browser: Browser, flower: Flower, server: ServerProcess
) -> None:
    with server.client() as client:
        ToldFleet(client).tell(10)
    with looked_at(browser, f"{flower.url}/keys", width=390) as page:
        page.locator("#keys-rows > tr").first.wait_for()
        offered = {
            state: page.locator("#keys-rows > tr", has=page.get_by_text(state, exact=True))
            .first.get_by_role("button")
            .all_inner_texts()
            for state in ("ready", "cooling", "revoked", "disabled")
        }
        assert page.evaluate(FLAWS) == []
        save_picture(page, "keys-10-390-light")
    assert offered == {
        "ready": ["Probe", "Disable"],
        "cooling": ["Probe", "Disable"],
        "revoked": ["Probe", "Enable", "Disable"],
        "disabled": ["Probe", "Enable"],
    }
