"""Headless Chromium for tests of pages: found, or a reason why not."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE = 600_000
"""Milliseconds: a busy machine is no failure."""


@contextmanager
def opened(**options: Any) -> Iterator[tuple[Any, list[str]]]:
    """A page in headless Chromium, and a list of what it complained of: errors, warnings, requests that leave.

    The test is skipped where there is no browser, or no playwright to talk to it.

    Args:
        **options: of playwright's `Browser.new_page`, as viewport.
    """
    place = next((found for name in NAMES if (found := shutil.which(name))), None)
    if place is None:
        pytest.skip(f"no browser is installed ({', '.join(NAMES)})")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed; the extra [test] has it")
    from playwright.sync_api import sync_playwright

    root = os.name == "posix" and os.geteuid() == 0
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=place, args=["--no-sandbox"] if root else [], timeout=_PATIENCE
        )
        page, complaints = browser.new_page(**options), []
        page.set_default_timeout(_PATIENCE)
        page.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request", lambda one: complaints.append(one.url) if not one.url.startswith(("file:", "data:")) else None
        )
        try:
            yield page, complaints
        finally:
            browser.close()
