# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation's site, built as `make docs` builds it and read in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from testbed import docs, engine


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    docs.build(folder)
    return folder


@pytest.fixture(scope="module")
def page(site: Path) -> Iterator[Page]:
    engine.install_packages("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def test_the_menu_has_every_section(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    menu = page.locator(".sidebar-tree")
    for purpose in (
        "Tutorial",
        "How-to guides",
        "Reference",
        "Explanation",
        "Troubleshooting",
        "Upgrade",
        "Contributing",
    ):
        expect(menu.get_by_text(purpose, exact=True).first).to_be_visible()
    menu.get_by_role("link", name="A lab on your own server").click()
    expect(page.get_by_role("heading", name="4. Deploy")).to_be_visible()
    assert page.locator(".highlight-yaml").first.inner_text().startswith("# hosts.yml")


def test_roles_and_modules_have_pages_with_their_options(site: Path, page: Page) -> None:
    for kind in ("role", "module"):
        folder = site / "reference" / "plugins"
        assert list(folder.glob(f"*_{kind}.html"))
    page.goto((site / "reference" / "modules.html").as_uri())
    page.get_by_role("link", name=re.compile("instance_reset module")).last.click()
    expect(page.locator("[id='parameter-people']")).to_have_count(1)
    expect(page.get_by_text("ERROR")).to_have_count(0)
    assert not list((site / "reference" / "plugins").glob("_*"))


def test_the_search_finds_a_symptom(site: Path, page: Page) -> None:
    page.goto((site / "search.html").as_uri() + "?q=websockets")
    expect(page.get_by_role("link", name="Addresses and logging in").last).to_be_visible(timeout=30_000)


def test_a_phone_shows_a_page_without_scrolling_sideways(site: Path, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto((site / "troubleshooting" / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_every_link_within_the_site_leads_to_something(site: Path) -> None:
    pages = {path.resolve(): path.read_text() for path in site.rglob("*.html")}
    broken = []
    for path, text in pages.items():
        for target in re.findall(r'(?:href|src)="([^":]*)"', text):
            place, _unused, anchor = target.partition("#")
            there = (path.parent / place.partition("?")[0]).resolve() if place else path
            if not there.exists() or (anchor and f'id="{anchor}"' not in pages.get(there, "")):
                broken.append(f"{path.relative_to(site)}: {target}")
    assert broken == []
