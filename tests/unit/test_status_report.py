# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table and the page of playbooks/status.yml."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import status_samples as samples
from ansible_collections.carrel.jupyter.plugins.filter import status as filters
from ansible_collections.carrel.jupyter.plugins.module_utils._report import report
from hypothesis import given
from hypothesis import strategies as st

TEMPLATE = Path(__file__).parents[2].joinpath("playbooks/files/status.html.j2").read_text(encoding="utf-8")
COLUMNS = 9


class Page(HTMLParser):
    """Every element that the page opens, with its attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def lines(hosts: dict[str, Any]) -> list[str]:
    return report.table(report.rows(hosts, samples.NOW))


def test_the_table() -> None:
    table = lines(samples.fleet())
    assert table[0].split() == " ".join(report.HEAD).split()
    assert table[2].split() == [
        "geo1.example.org", "tao", "ok", "31", "ms", "lab:1.0", "d044~", "done", "11", "h", "ago",
        "01:25", "-", "1.1", "GiB",
    ]  # fmt: skip
    assert [line.split()[2] for line in table[1:7]] == ["ERROR", "ok", "WARNING", "HELD", "UNREACHABLE", "empty"]
    assert table[7].startswith(
        "ERROR geo1.example.org atlas: https://geo1.example.org/atlas/ does not answer: status 503"
    )
    assert table[-1] == "4 instances on 4 hosts: 1 error, 1 unreachable, 1 warning, 1 ok, 1 held, 1 empty"


def test_how_commands_and_smoke_notebooks_ended_is_on_the_page() -> None:
    last = samples.reset(commands=["before: done"], smoke="failed: a.ipynb, cell 1: \x1b[31mImportError\nx")
    (row,) = report.rows({"h": {"instances": [samples.instance(reset=last)]}}, samples.NOW)
    assert row.commands == ("before: done", "smoke: failed: a.ipynb, cell 1: ImportError x")


def test_what_is_the_administrators_own_stands_below_the_table_and_on_the_page() -> None:
    hosts = {"h": {"instances": [samples.instance(own=["server_settings ServerApp", "extra_config own.py"])]}}
    assert lines(hosts)[-2] == "h tao has the administrator's own server_settings ServerApp; extra_config own.py"
    text = Page(filters.page(hosts, TEMPLATE)).text
    assert "your own server_settings ServerApp" in text and "your own extra_config own.py" in text


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=300))
def test_the_table_is_narrow_and_obeys_nobody(host: str, name: str, message: str) -> None:
    failed = samples.reset("failed", message=message)
    for line in lines({"h" + host: {"instances": [samples.instance(name=name, url=message, reset=failed)]}}):
        assert len(line) <= report.WIDTH and line.isprintable()


def test_nothing_of_a_host_becomes_markup() -> None:
    bad = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    hosts = {
        bad: {"unreachable": True, "msg": bad},
        "h": {
            "instances": [
                samples.instance(
                    name=bad, kind=bad, own=[bad], url="javascript:alert(3)", site={**samples.refused(), "error": bad},
                    containers=[samples.container(bad, image=bad, health=bad)],
                    reset=samples.reset("failed", message=bad, ended=bad), disk=samples.disk(notes=[bad]),
                )
            ]
        },
    }  # fmt: skip
    html = filters.page(hosts, TEMPLATE)
    page = Page(html)
    assert not page.all("script") and not page.all("img") and not page.all("a")
    assert not [attributes for _unused, attributes in page.elements if any(key.startswith("on") for key in attributes)]
    assert bad in page.text


def test_the_page_is_one_accessible_file() -> None:
    page = Page(filters.page(samples.fleet(), TEMPLATE))
    assert not [tag for tag, attributes in page.elements if tag in ("link", "script", "img") or "src" in attributes]
    assert page.all("html") == [{"lang": "en"}] and page.all("caption")
    assert [attributes["scope"] for attributes in page.all("th")] == ["col"] * COLUMNS + ["row"] * 6
    # the others of each row
    assert len(page.all("td")) == (COLUMNS - 1) * 6
    assert [link["href"] for link in page.all("a")][:2] == [
        "https://geo1.example.org/atlas/",
        "https://geo1.example.org/tao/",
    ]
    problems = page.text.index("Problems")
    assert problems < page.text.index("does not answer") < page.text.index("Last reset")


def test_a_page_without_problems() -> None:
    assert "None." in Page(filters.page({"h": {"instances": [samples.instance()]}}, TEMPLATE)).text


@pytest.mark.parametrize(
    "broken",
    [
        5, [], {}, {"name": "atlas"}, samples.instance(name="atlas", disk=samples.disk(directory_bytes="many")),
        samples.instance(name="atlas", disk=samples.disk(free_bytes=10**400)),
        samples.instance(name="atlas", reset=samples.reset(put_off=None)),
        {**samples.instance(name="atlas"), "site": 7},
        {**samples.instance(name="atlas"), "problems": [{"text": "no level"}]},
    ],
)  # fmt: skip
def test_an_instance_that_cannot_be_shown_leaves_the_fleet_its_table(broken: Any) -> None:
    hosts = {"geo": {"instances": [broken, samples.instance()]}, "h": {"instances": [samples.instance()]}}
    bad, *good = report.rows(hosts, samples.NOW)
    assert bad.health == "error" and "its status cannot be shown, because of a" in bad.problems[0].text
    assert [row.answers for row in good] == ["31 ms"] * 2
    assert "2 ok" in lines(hosts)[-1] and report.failing(hosts) in ([], ["geo -"], ["geo atlas"])
    assert "its status cannot be shown" in Page(filters.page(hosts, TEMPLATE)).text


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "nonsense", "2030-01-01"])
def test_times_of_engines_and_accounts_are_shown_if_they_are_times(time: str) -> None:
    last = samples.reset(ended=time)
    (row,) = report.rows(
        {"h": {"instances": [samples.instance(containers=[samples.container(since=time)], reset=last)]}}, samples.NOW
    )
    assert row.reset_at == ("2030-01-01 00:00 UTC" if time == "2030-01-01" else "") and row.next_reset == "01:25"


@pytest.mark.parametrize(
    ("result", "failing"),
    [
        ({"instances": []}, []),
        ({"instances": [samples.instance(reset=samples.reset("failed"))]}, []),
        ({"instances": [samples.instance(state="held", site=None)]}, []),
        ({"instances": [samples.instance(site=samples.refused())]}, ["h tao"]),
        ({"instances": [samples.instance(site=None)]}, ["h tao"]),
        ({"instances": [samples.instance(state=None, site=None)]}, ["h tao"]),
        ({"unreachable": True, "msg": "timed out"}, ["h"]),
        ({}, ["h"]),
    ],
)
def test_what_monitoring_must_know(result: dict[str, Any], failing: list[str]) -> None:
    assert report.failing({"h": result}) == failing
