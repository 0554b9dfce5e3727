"""Photograph the sections of a page into docs/images/report, as docs/report.md shows them.

    python docs/screenshots.py results/demo/report.html
    python docs/screenshots.py results/planted-budget/report.html references # only these sections

Needs Chromium.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images" / "report"


def main() -> None:
    page_file, wanted = Path(sys.argv[1]).resolve(), sys.argv[2:]
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--hide-scrollbars"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(180_000)  # milliseconds; on a busy machine the page takes its time
        page.goto(page_file.as_uri())
        page.wait_for_selector("body[data-ready=true]")
        # Pictures of sections are taken in parts, each with the bar of links if that sticks to the window.
        page.add_style_tag(content="nav { position: static !important }")
        page.check("text=likely label errors")
        page.locator("#list tbody button").nth(0).click()
        page.evaluate("[...document.querySelectorAll('#list tbody tr')].slice(6).forEach((row) => row.remove())")
        for section in page.locator("header, main > section").all():
            name = section.get_attribute("id") or "summary"
            if wanted and name not in wanted:
                continue
            section.screenshot(path=IMAGES / f"{name}.png")
            print(IMAGES / f"{name}.png")
        if wanted:
            return
        phone = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2)
        phone.set_default_timeout(180_000)
        phone.goto(page_file.as_uri() + "#maps")
        phone.wait_for_selector("body[data-ready=true]")
        phone.screenshot(path=IMAGES / "phone.png")
        browser.close()


if __name__ == "__main__":
    main()
