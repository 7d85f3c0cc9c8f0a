# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import html.parser
import json

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import login_page
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.login_page import LoginPageError
from hypothesis import given, settings
from hypothesis import strategies as st
from upstream_pages import VERSIONS, page, render

VOID = {"br", "img", "input", "link", "meta", "hr"}
HOSTILE = [
    "<script>alert(1)</script>",
    "</div></form></body>",
    "{{ 7 * 7 }} {% if x %} {# gone #} {% endraw %} {{{ }}} {%- raw %}",
    "&lt;already&gt; &amp; 'quoted' \"twice\"",
    "Grüße · 日本語 · 🧪 · \u202eright to left",
    "first\r\nsecond\r\n\r\nthird\rfourth",
    "{",
    "ends with {{",
    "$HOME ${HOME} `id` \\n \\",
    "x" * 100_000,
]


class Seen(html.parser.HTMLParser):
    """The text inside the notice, the elements around it, and what remained open at the end."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.around: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = dict(attrs).get("id")
        if name == login_page.NOTICE_ID:
            self.around.append(list(self.stack))
        if tag not in VOID:
            self.stack.append(f"{tag}#{name}" if name else tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.stack and self.stack[-1].split("#")[0] == tag, f"</{tag}> in {self.stack}"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        if f"div#{login_page.NOTICE_ID}" in self.stack:
            self.text += data


def with_notice(version: str, notice: str) -> list[str]:
    text = login_page.insert_notice(page(version), login_page.notice_from_text(notice))
    login_page.check_source(text)
    answer = render(version, text)
    assert "error" not in answer, answer
    pages = answer["pages"]
    assert isinstance(pages, list) and len(pages) == 2
    return pages


def without_spaces(text: str) -> str:
    return text.translate({ord(space): None for space in " \t\r\n"})


@pytest.mark.parametrize("version", VERSIONS)
def test_the_upstream_page_itself_is_good(version: str) -> None:
    for rendered in render(version, page(version))["pages"]:
        login_page.check_rendered(rendered, with_notice=False)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("notice", HOSTILE, ids=lambda notice: notice[:12])
def test_a_hostile_notice_shows_literally(version: str, notice: str) -> None:
    for rendered in with_notice(version, notice):
        login_page.check_rendered(rendered, with_notice=True)
        assert without_spaces(Seen(rendered).text) == without_spaces(notice)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_notice_is_below_the_form_and_its_wrapping(version: str) -> None:
    innermost = "div#site" if version == "1.0.11" else "div#jupyter-main-app"
    for rendered in with_notice(version, "Hello"):
        (around,) = Seen(rendered).around
        assert around[-1] == innermost
        assert rendered.index("</form>") < rendered.index(login_page.NOTICE_ID)
        if "Token authentication is enabled" in rendered:
            assert rendered.index(login_page.NOTICE_ID) < rendered.index("Token authentication is enabled")


@pytest.mark.parametrize("version", VERSIONS)
def test_only_the_notice_and_the_message_are_added(version: str) -> None:
    upstream = page(version)
    text = login_page.insert_notice(upstream, "<p>x</p>")
    start = text.index(f'\n<div id="{login_page.NOTICE_ID}"')
    end = text.index("</div>\n", start) + len("</div>\n")
    assert (text[:start] + text[end:]).replace(login_page._MESSAGE, "", 1) == upstream


TRICKY = st.sampled_from(
    ["{{", "}}", "{%", "%}", "{#", "#}", "{% endraw %}", "{", "</div>", "<!--", "&amp;", "\r\n", "\n\n", "\t"]
)
NOTICES = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])) | TRICKY).map("".join).filter(str.strip)


@settings(max_examples=200)
@given(notice=NOTICES, version=st.sampled_from(["1.0.11", "latest"]))
def test_any_plain_text_shows_literally(notice: str, version: str) -> None:
    for rendered in with_notice(version, notice):
        login_page.check_rendered(rendered, with_notice=True)
        assert without_spaces(Seen(rendered).text) == without_spaces(notice)


@settings(max_examples=100)
@given(text=st.lists(st.text("{}%#ax- \"'") | TRICKY).map("".join))
def test_jinja_is_inert_in_any_html(text: str) -> None:
    shown = "<p>" + text.replace("\r\n", "\n").replace("<!--", "") + "</p>"
    rendered = render("latest", login_page.insert_notice(page("latest"), shown))["pages"][0]
    assert shown in rendered


def test_lines_and_paragraphs() -> None:
    assert login_page.notice_from_text("\none\ntwo  three\n \n\nfour\n") == "<p>one<br>\ntwo  three</p>\n<p>four</p>"


@pytest.mark.parametrize(
    ("notice", "message"),
    [("", "empty"), (" \n\t\r\n", "empty"), ("ab\x00", "character 3 .* U.0000"), ("\x1b[1m", "U.001B")],
)
def test_bad_text(notice: str, message: str) -> None:
    with pytest.raises(LoginPageError, match=message):
        login_page.notice_from_text(notice)


def test_empty_html() -> None:
    with pytest.raises(LoginPageError, match="notice_html is empty"):
        login_page.notice_from_html(" \n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no form"),
        ("{% extends 'page.html' %}", "no form"),
        ("<form method='get'><input type='password'></form>", "no form"),
        ("<form method='post'><input type='text'></form>", "no form"),
        ("<!-- <form method='post'><input type='password'></form> -->", "no form"),
        ("<script>'<form method=post><input type=password></form>'</script>", "no form"),
        ("<form method='post'><input type='password'>", "no form"),
        ("<p>\n</div><form method='post'><input type='password'></form>", "line 2 .*</div>"),
        ("<div>{% else %}</div>", "line 1 .*else"),
        ("{% if a %}\n<div>\n{% endif %}", "line 3 .*endif"),
        ("{% block a %}{% endif %}", "endif"),
    ],
)
def test_a_page_that_is_not_understood(text: str, message: str) -> None:
    with pytest.raises(LoginPageError, match=message) as caught:
        login_page.insert_notice(text, "<p>x</p>")
    assert "`template`" in str(caught.value)


def test_the_second_form_is_left_alone() -> None:
    login = "<form method='post'><input type='password'/></form>"
    text = "<form><input></form>" + login + login
    before, after = login_page.insert_notice(text, "x").split(f'\n<div id="{login_page.NOTICE_ID}"')
    assert before.count("</form>") == 2 and after.count("</form>") == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('method="post"', "", "post"),
        ('method="post"', 'method="get"', "post"),
        ("{{ xsrf_form_html() | safe }}", "", "XSRF"),
        ("{{ xsrf_form_html() | safe }}", "{{ xsrf_form_html() }}", "XSRF"),
        ("?next={{next}}", "", "next="),
        ("{{base_url}}login", "/login", "'/login"),
        ("{{base_url}}login", "https://evil.example/login", "evil"),
        ("{{base_url}}login", "http://[", "sent to"),
        ('type="password"', 'type="text"', "password"),
        ('name="password"', 'name="pass"', "password"),
        ("<form ", "<div ", "no form"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_page_nobody_could_log_in_with(version: str, old: str, new: str, message: str) -> None:
    assert old in page(version)
    (first, *_unused) = render(version, page(version).replace(old, new))["pages"]
    with pytest.raises(LoginPageError, match=message):
        login_page.check_rendered(first, with_notice=False)


def test_a_notice_that_does_not_show() -> None:
    form = "<form method='post'><input type='password'></form>"
    text = login_page.insert_notice("{% if False %}" + form + "{% endif %}" + page("latest"), "x")
    with pytest.raises(LoginPageError, match="does not show"):
        login_page.check_rendered(render("latest", text)["pages"][0], with_notice=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n{% if %}", "line 2"),
        ('{% extends "login.html" %}', "RecursionError"),
        ('{% extends "none.html" %}', "TemplateNotFound"),
    ],
)
def test_jinja_complaints(text: str, message: str) -> None:
    assert message in str(render("latest", text)["error"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "empty"), (" \n", "empty"), ("x" * (1024 * 1024 + 1), "1048577 bytes"), ("ab\udc80", "character 3")],
)
def test_bad_source(text: str, message: str) -> None:
    with pytest.raises(LoginPageError, match=message):
        login_page.check_source(text)


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1)))
def test_the_compose_fragment_can_be_read_back(mounts: dict[str, str]) -> None:
    fragment = login_page.compose_fragment(["lab-1", "lab-2"], [(source, target) for target, source in mounts.items()])
    assert login_page.mounted_files(fragment, "lab-1") == login_page.mounted_files(fragment, "lab-2") == mounts
    assert login_page.mounted_files(fragment, "other") == {}


def test_the_compose_fragment() -> None:
    fragment = json.loads(login_page.compose_fragment(["lab"], [("/srv/$x/0.html", "/opt/login.html")]))
    (volume,) = fragment["services"]["lab"]["volumes"]
    assert volume["source"] == "/srv/$$x/0.html" and volume["read_only"] and not volume["bind"]["create_host_path"]
    assert json.loads(login_page.compose_fragment(["lab"], [])) == {"services": {"lab": {}}}


@pytest.mark.parametrize(
    "text", ["", "{", "services: {}", "[]", '{"services": {"lab": null}}', '{"services": {"lab": {"volumes": 1}}}']
)
def test_a_foreign_compose_file_mounts_nothing(text: str) -> None:
    assert login_page.mounted_files(text, "lab") == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_error_messages_are_above_the_form(version: str) -> None:
    text = login_page.insert_notice(page(version), login_page.notice_from_text("long\n\n" * 50))
    (shown, _unused) = render(version, text, "{'error': 'Invalid <b>password'}")["pages"]  # type: ignore[misc]
    alert = '<div role="alert"'
    assert shown.count(alert) == 1
    assert shown.index(alert) < shown.index("Invalid &lt;b&gt;password", shown.index(alert)) < shown.index("<form")
    assert ".message { display: none }" in shown  # the image's own, below the notice
    (quiet, _unused) = render(version, text)["pages"]  # type: ignore[misc]
    assert alert not in quiet and "display: none }" not in quiet
