# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""jupyter_server's login page with a notice below its form and what went wrong above it.

And the proof that people can still log in with it.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import unicodedata
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told

MAX_PAGE_BYTES = 1024 * 1024
NOTICE_ID = "login-notice"
# As wide as jupyter_server's message about tokens below it, and below the form, which floats.
STYLE = "clear: both; max-width: 540px; margin: 0 auto; padding: 1em 0; text-align: left"
# What the page says after a wrong password. The image's own page has it in small print behind everything else, where a
# long notice pushes it off the screen.
_MESSAGE = """
{% if message %}
<style>.message { display: none }</style>
<div role="alert" style="clear: both; max-width: 540px; margin: 1em auto; padding: 0.75em 1em; text-align: left;
  color: #a11; background: #fdecea; border: 1px solid #a11; border-radius: 4px; font-size: 16px; font-weight: bold">
{% for kind in message %}{{ message[kind] | e }} {% endfor %}
</div>
{% endif %}
"""

_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
_JINJA_BLOCKS = frozenset(["autoescape", "block", "call", "filter", "for", "if", "macro", "trans", "with"])
_JINJA_MIDDLE = frozenset(["elif", "else", "pluralize"])
_TOKEN = re.compile(
    r"""
      \{\#.*?\#\} | \{\{.*?\}\} | <!--.*?--> | <!\w[^>]*>
    | \{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}
    | <(?P<opaque>script|style|textarea|title)\b.*?</(?P=opaque)\s*>
    | \{%[-+]?\s*(?P<jinja>\w+)(?P<rest>.*?)%\}
    | <(?P<close>/?)(?P<tag>[a-z][\w-]*)(?P<attributes>(?:"[^"]*"|'[^']*'|[^'">])*)>
    """,
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
_HINT = "give the whole page with `template` instead"


class LoginPageError(Told):
    """A notice or a page that cannot be used; the text says what, where and what to do."""


def notice_from_text(text: str) -> str:
    """Plain text as HTML: blank lines divide paragraphs, line ends break lines."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    if not lines.strip():
        raise LoginPageError("the notice is empty: write its text, or leave it out for the page as the image has it")
    for position, character in enumerate(lines):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
            raise LoginPageError(
                f"character {position + 1} of the notice is U+{ord(character):04X}, a control character: remove it"
            )
    paragraphs = re.split(r"\n(?:[ \t]*\n)+", lines)
    return "\n".join("<p>" + html.escape(text).replace("\n", "<br>\n") + "</p>" for text in paragraphs)


def notice_from_html(text: str) -> str:
    """Trusted HTML, as it is."""
    if not text.strip():
        raise LoginPageError("notice_html is empty: write it, or leave it out for the page as the image has it")
    return text


def without_jinja(text: str) -> str:
    """Text that jinja prints unchanged: a brace that would begin a tag becomes an expression that prints the brace."""
    return re.sub(r"\{(?=[{%#])", '{{ "{" }}', text)


def insert_notice(page: str, notice: str) -> str:
    """The page with the notice (HTML) behind the login form and the elements that only wrap it, and messages before."""
    start, end = _around_form(page)
    block = f"""
<div id="{NOTICE_ID}" class="rendered_html" style="{STYLE}">
{without_jinja(notice)}
</div>
"""
    return page[:start] + _MESSAGE + page[start:end] + block + page[end:]


def _around_form(page: str) -> tuple[int, int]:
    """Where the outermost element begins and ends that holds the login form and lies in the form's jinja block."""
    stack: list[str] = []  # open elements, "div", and jinja blocks, "%if"
    starts: list[int] = []  # of the open elements
    wrapped: list[str] | None = None  # what is still open when the form's wrapping is over
    method_is_post = has_password = False
    for token in _TOKEN.finditer(page):
        if token["jinja"]:
            _follow_jinja(page, token, stack)
        elif token["tag"]:
            tag = token["tag"].lower()
            attributes = token["attributes"]
            if token["close"]:
                if not stack or stack[-1] != tag:
                    raise _misplaced(page, token)
                stack.pop()
                start = starts.pop()
                if tag == "form" and method_is_post and has_password:
                    wrapped = stack[: _last_jinja(stack) + 1]
                if wrapped is not None and stack == wrapped:
                    return start, token.end()
            elif tag in _VOID or attributes.endswith("/"):
                has_password |= tag == "input" and bool(re.search(r"""\btype\s*=\s*["']?password""", attributes, re.I))
            else:
                stack.append(tag)
                starts.append(token.start())
                if tag == "form":
                    method_is_post = bool(re.search(r"""\bmethod\s*=\s*["']?post""", attributes, re.I))
                    has_password = False
    raise LoginPageError(f"the image's login page has no form with method post and a password field: {_HINT}")


def _follow_jinja(page: str, token: re.Match[str], stack: list[str]) -> None:
    name = token["jinja"].lower()
    inline_set = name == "set" and "=" in token["rest"]
    if name in _JINJA_BLOCKS or (name == "set" and not inline_set):
        stack.append("%" + name)
    elif name in _JINJA_MIDDLE:
        if not stack or not stack[-1].startswith("%"):
            raise _misplaced(page, token)
    elif name.startswith("end"):
        if not stack or stack[-1] != "%" + name[3:]:
            raise _misplaced(page, token)
        stack.pop()


def _last_jinja(stack: list[str]) -> int:
    return max((index for index, name in enumerate(stack) if name.startswith("%")), default=-1)


def _misplaced(page: str, token: re.Match[str]) -> LoginPageError:
    line = page.count("\n", 0, token.start()) + 1
    return LoginPageError(
        f"line {line} of the image's login page has {token[0][:60]!r} where it does not belong, so that the end of the"
        f" form cannot be found: {_HINT}"
    )


def check_source(page: str) -> None:
    """Problems of a page that are known before it is rendered."""
    if not page.strip():
        raise LoginPageError("the login page is empty: nobody could log in")
    try:
        size = len(page.encode())
    except UnicodeEncodeError as error:
        raise LoginPageError(f"character {error.start + 1} of the login page is not Unicode: remove it") from error
    if size > MAX_PAGE_BYTES:
        raise LoginPageError(
            f"the login page has {size} bytes, {MAX_PAGE_BYTES} are allowed: link to images instead of embedding them"
        )


class _Forms(HTMLParser):
    """The forms of a rendered page, each with its attributes and its inputs."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[tuple[dict[str, str], list[dict[str, str]]]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((values, []))
            self._inside = True
        elif tag == "input" and self._inside:
            self.forms[-1][1].append(values)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


def check_rendered(
    page: str,
    with_notice: bool,
    xsrf: str = "{{ xsrf_form_html() | safe }}",
    action: str = "{{base_url}}login?next={{next}}",
) -> None:
    """Prove that one can log in with the page that RENDER of _image_probe made, and that the notice is on it.

    `xsrf` and `action` are what to write where they are wrong.
    """
    parser = _Forms()
    parser.feed(page)
    parser.close()
    logins = [
        (attributes, inputs)
        for attributes, inputs in parser.forms
        if any(field.get("type") == "password" and field.get("name") == "password" for field in inputs)
    ]
    if not logins:
        raise LoginPageError('the login page has no form with <input type="password" name="password">')
    attributes, inputs = logins[0]
    if attributes.get("method", "").lower() != "post":
        raise LoginPageError('the login page\'s form is not sent by post: write <form method="post" …>')
    if not any(field.get("name") == "_xsrf" and field.get("value") == "carrel-xsrf" for field in inputs):
        raise LoginPageError(f"the login page's form lacks the XSRF field: write {xsrf} before </form>")
    target = attributes.get("action", "")
    if not _leads_to_login(target):
        raise LoginPageError(f'the login page\'s form is sent to {target!r}: write action="{action}"')
    if with_notice and f'id="{NOTICE_ID}"' not in page:
        raise LoginPageError(f"the notice does not show: the image's login page hides what follows its form; {_HINT}")


def _leads_to_login(target: str) -> bool:
    """Whether an action reaches the stub's login, at its base_url and with its next."""
    try:
        action = urlsplit(urljoin("/carrel-base/login", target))
    except ValueError:
        return False
    here = not action.netloc and action.path == "/carrel-base/login"
    return here and parse_qs(action.query).get("next") == ["/carrel-next"]


def digest(pages: Sequence[tuple[str, str]]) -> str:
    """The name of the directory that holds these pages: (target, text) each."""
    return hashlib.sha256(json.dumps(list(pages)).encode()).hexdigest()


def compose_fragment(services: Sequence[str], mounts: Sequence[tuple[str, str]]) -> str:
    """A compose file that mounts each (source, target) in each service; as JSON, which every YAML parser reads."""
    volumes = [
        {
            "type": "bind",
            "source": _literal(source),
            "target": _literal(target),
            "read_only": True,
            "bind": {"create_host_path": False},
        }
        for source, target in mounts
    ]
    definition: dict[str, Any] = {"volumes": volumes} if volumes else {}
    return json.dumps({"services": dict.fromkeys(services, definition)}, indent=2) + "\n"


def mounted_files(fragment: str, service: str) -> dict[str, str]:
    """Of a service, target: source of a fragment that compose_fragment wrote; nothing of one that it did not write."""
    try:
        volumes = json.loads(fragment)["services"][service].get("volumes", [])
        return {_plain(volume["target"]): _plain(volume["source"]) for volume in volumes}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _literal(path: str) -> str:
    """Compose replaces $NAME; $$ is a dollar."""
    return path.replace("$", "$$")


def _plain(path: str) -> str:
    return path.replace("$$", "$")
