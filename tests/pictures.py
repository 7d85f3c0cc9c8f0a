# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make pictures`: the documentation's pictures, of the program as it is.

The status page shows made-up hosts in the real page. The others are what tests/e2e/test_browser.py saw in the last
`make test`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from ansible_collections.carrel.jupyter.plugins.filter import status
from playwright.sync_api import sync_playwright

from testbed import engine
from testbed.run import ROOT

sys.path.insert(0, str(ROOT / "tests" / "unit"))
import status_samples as samples

TO = ROOT / "docs" / "images"
SEEN = ROOT / "tests" / "output"


def picture_of_the_status() -> None:
    template = (ROOT / "playbooks" / "files" / "status.html.j2").read_text()
    page = status.page(samples.fleet(), template, samples.NOW)
    engine.install_packages("chromium")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        file = Path(scratch) / "status.html"
        file.write_text(page)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 800})
        opened.goto(file.as_uri())
        opened.screenshot(path=TO / "status.png", full_page=True)
        browser.close()


def main() -> int:
    picture_of_the_status()
    missing = [name for name in ("login.png", "notebook.png", "hub-login.png") if not (SEEN / name).exists()]
    for name in {"login.png", "notebook.png", "hub-login.png"} - set(missing):
        shutil.copy(SEEN / name, TO / name)
    if missing:
        print(f"not seen by a browser yet, so they stay as they are: {', '.join(missing)}. `make test` sees them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
