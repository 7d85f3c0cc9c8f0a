# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from testbed.browser import chromium
from testbed.patience import until

from .conftest import ROOT, Site, enter, passwords, reset

OUTPUT = ROOT / "tests" / "output"


@pytest.fixture
def page() -> Iterator[Page]:
    # the test bed's authority is not in Chromium's store; that TLS verifies is what the other tests show
    with chromium(ignore_https_errors=True, viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        # pytest shows it if the test fails
        page.on("console", lambda said: print("console:", said.type, said.text) if said.type == "error" else None)
        page.on("requestfailed", lambda request: print("failed:", request.method, request.url, request.failure))
        page.on("response", lambda answer: print(answer.status, answer.url) if answer.status >= 400 else None)
        # On a busy machine JupyterLab says that it lost the server, which it finds again by itself.
        lost = page.locator(".jp-Dialog", has_text="Server Connection Error")
        page.add_locator_handler(lost, lambda dialog: dialog.locator(".jp-Dialog-button").last.click())
        yield page


def test_somebody_reads_the_notice_logs_in_and_runs_a_cell(page: Page, geo: Site) -> None:
    page.goto(geo.url)
    expect(page.get_by_text("Do not share <your> password.")).to_be_visible()
    OUTPUT.mkdir(exist_ok=True)
    page.screenshot(path=OUTPUT / "login.png")
    page.locator("input[type=password]").fill("wrong")
    page.locator("input[type=password]").press("Enter")
    expect(page.get_by_role("alert")).to_be_in_viewport()
    page.locator("input[type=password]").fill(geo.secret)
    page.locator("input[type=password]").press("Enter")
    run_a_cell(page)
    page.screenshot(path=OUTPUT / "notebook.png")
    page.on("dialog", lambda dialog: dialog.accept())  # the notebook may not be saved yet
    page.get_by_role("menubar").get_by_text("File", exact=True).click()
    leave = page.get_by_role("menuitem", name="Log Out")
    expect(leave).to_be_visible()
    expect(page.get_by_role("menuitem", name="Shut Down", exact=True)).not_to_be_visible()
    leave.click()
    page.wait_for_url("**/logout")
    page.goto(f"{geo.url}lab")
    page.wait_for_url("**/login?next=**")


def test_somebody_logs_in_to_a_hub_gets_a_server_and_runs_a_cell(page: Page, hub: Site) -> None:
    page.goto(hub.url)
    expect(page.get_by_text("Statistics and geometry, winter term")).to_be_visible()
    page.locator("input[name=username]").fill("ada")
    page.locator("input[name=password]").fill(passwords()["ada"])
    page.screenshot(path=OUTPUT / "hub-login.png")
    page.locator("input[type=submit], button[type=submit]").first.click()
    # the spawn begins by itself
    try:
        page.wait_for_url("**/user/ada/lab**")
        run_a_cell(page)
        expect(page.locator("body")).to_have_attribute("data-jp-theme-name", "JupyterLab Dark")
        page.screenshot(path=OUTPUT / "hub-notebook.png")
    finally:
        with enter(hub, "ada") as session:
            session.stop()


def test_an_open_page_lives_through_a_reset(page: Page, tao: Site) -> None:
    page.goto(tao.url)
    page.locator("input[type=password]").fill(tao.secret)
    page.locator("input[type=password]").press("Enter")
    run_a_cell(page)
    page.keyboard.press("Control+s")
    notebook = page.url.rpartition("/")[2]
    with tao.lab().login(tao.secret) as lab:
        until(lambda: "carrels: 42" in str(lab.get(notebook)), "the cell's output is saved")
    code, output = reset(tao, "--people", "ignore", "--no-pull")
    assert code == 0, output
    page.wait_for_timeout(5000)
    page.screenshot(path=OUTPUT / "reset.png")
    page.reload()
    expect(page.locator(".jp-OutputArea-output").first).to_contain_text("carrels: 42")
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible()
    page.screenshot(path=OUTPUT / "reset-reloaded.png")
    assert page.locator("input[type=password]").count() == 0


def run_a_cell(page: Page) -> None:
    page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click()
    cell = page.locator(".jp-Notebook .jp-Cell .cm-content").first
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible()
    cell.click()
    cell.fill("import sys\nprint('carrels:', 6 * 7)")
    expect(cell).to_contain_text("carrels:")
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output").first).to_contain_text("carrels: 42")
