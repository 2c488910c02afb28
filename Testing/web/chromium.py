"""The browser of the tests: a Chromium of the system, headless."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """Return where Chromium is, HLFD_CHROMIUM first; skip the test where there is none."""
    for name in (os.environ.get("HLFD_CHROMIUM", ""), *NAMES):
        if name and (found := shutil.which(name)):
            return found
    pytest.skip("Chromium is not installed; .ci/browser installs it or says how")
    raise AssertionError("skip() does not return")


@contextmanager
def launched() -> Iterator:
    """A started browser; pages come from its ``new_context().new_page()``."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install 'hlfd[dev]'"
    )
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
