# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of Sphinx, which `make docs` calls. The pages of modules and roles come from antsibull-docs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes

DOCS = Path(__file__).resolve().parent
REPOSITORY = "https://github.com/carrel/jupyter"
# labels of Ansible's documentation that the generated pages refer to
ANSIBLE = {
    "action_plugins": "plugins/action.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}
# antsibull-docs writes one on each page, and the theme has its own
CONTENTS = re.compile(r"^\.\. contents::\n(?:   :.*\n)+", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")

project = "carrel.jupyter"
copyright = "the carrel.jupyter authors"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
exclude_patterns = [
    # filters that only the collection's own playbooks and roles use
    "reference/plugins/_*",
    # without a table of contents
    "reference/plugins/index.rst",
    "reference/plugins/environment_variables.rst",
]
highlight_language = "none"
default_role = "any"
nitpicky = True
myst_heading_anchors = 3

html_theme = "furo"
html_title = "carrel.jupyter"
html_show_sphinx = False
html_copy_source = False
html_use_index = False


def lead_to_the_repository(_app: Any, name: str, source: list[str]) -> None:
    """Lead links to files outside of docs/ to the repository, where people can read them."""

    def lead(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(DOCS / Path(name).parent / match[1]))
        if path.is_relative_to(DOCS) or not path.exists():
            return match[0]
        return f"]({REPOSITORY}/blob/main/{path.relative_to(DOCS.parent)}"

    source[0] = LINK.sub(lead, source[0])


def drop_contents(_app: Any, _name: str, source: list[str]) -> None:
    source[0] = CONTENTS.sub("", source[0])


def lead_to_ansible(_app: Any, _environment: Any, node: Any, content: Any) -> nodes.reference | None:
    """Lead to Ansible's documentation without asking its site for a list of labels."""
    page = ANSIBLE.get(node["reftarget"])
    return page and nodes.reference("", "", content, refuri=f"https://docs.ansible.com/ansible/latest/{page}")


def setup(app: Any) -> None:
    app.connect("missing-reference", lead_to_ansible)
    app.connect("source-read", lead_to_the_repository)
    app.connect("source-read", drop_contents)
