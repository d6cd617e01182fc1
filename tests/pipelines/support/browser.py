"""A real headless Chromium for the tests of the page, and what a person does with it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SCREENSHOTS = Path(os.environ.get("DVSE_SCREENSHOTS", "screenshots"))

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)


def find_chromium() -> tuple[str, str]:
    """Chromium and its driver; where one is missing, the test is skipped."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium and chromium-driver")
    return chromium, driver


@contextmanager
def open_browser(*more_flags: str) -> Iterator[Any]:
    """Yield a Selenium driver with an empty profile of its own."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = find_chromium()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*_FLAGS, *more_flags, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(driver))
        browser.set_script_timeout(60)
        try:
            yield browser
        finally:
            browser.quit()


def look(browser: Any, width: int, height: int, *, dark: bool = False, touch: bool = False) -> None:
    """Give the browser a screen of this size, in light or dark."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {
            "width": width,
            "height": height,
            "deviceScaleFactor": 2 if touch else 1,
            "mobile": touch,
        },
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def take_screenshot(browser: Any, name: str) -> None:
    """Keep the whole page as a picture among the test's artefacts."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    shot = browser.execute_cdp_cmd(
        "Page.captureScreenshot",
        {"captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "scale": 1, **_area(size)}},
    )
    import base64

    (SCREENSHOTS / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def _area(size: dict[str, float]) -> dict[str, float]:
    return {"width": size["width"], "height": size["height"]}
