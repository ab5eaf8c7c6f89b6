"""A real browser, without a window, for the pages that people look at."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from support.flower import PASSWORD, USER

__all__ = ["Theme", "browser", "looked_at", "save_picture"]

Theme = Literal["light", "dark"]

PATIENCE_MS = 15_000

PICTURES = "TEST_PICTURES"
"""A directory for pictures of the pages, for somebody to look at."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, or the one that CHROMIUM names. Of one module, as no other event loop runs beside it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("there is no Chromium here: install the system's, or set CHROMIUM")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@contextmanager
def looked_at(
    browser: Browser, url: str, *, width: int = 1280, height: int = 800, theme: Theme = "light", tolerates: str = "\n"
) -> Iterator[Page]:
    """A page of Flower's in a window of this size; fails where the browser's console says that anything is wrong but
    what `tolerates` stands in."""
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=theme,
        extra_http_headers={"Authorization": f"Basic {encoded}"},
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    try:
        page.goto(url)
        yield page
        assert [line for line in said if tolerates not in line] == []
    finally:
        context.close()


def save_picture(page: Page, name: str) -> None:
    """Keep a picture of the whole page, if somebody wants to look at it."""
    directory = os.environ.get(PICTURES)
    if directory:
        page.screenshot(path=str(Path(directory) / f"{name}.png"), full_page=True, animations="disabled")
