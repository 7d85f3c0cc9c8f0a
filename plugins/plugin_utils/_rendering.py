# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the variables of a host text by text, so that errors are reported with the path of the key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jinja2
from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import instance_path
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, Computed

# Ansible's own variables of a host: large, and not written by the administrator.
_MAGIC = frozenset(("vars", "hostvars", "groups", "ansible_facts"))
_INSTANCES = re.compile(r"jupyter_instances(_\w+)?")
_SECRET = re.compile(r"\.(password|token|client_secret|dummy_password|(environment|args|build_args)\..*)$")


class Renderer:
    def __init__(self, templar: Any, variables: Mapping[str, Any], problems: Problems) -> None:
        self._templar = templar
        self._variables = variables
        self._problems = problems
        self._lexer = jinja2.Environment()  # noqa: S701 - renders nothing
        self._commented: dict[str, bool] = {}

    def render(self, value: Any, path: str) -> Any:
        """VALUE with all texts rendered; INVALID in the place of those that can't be."""
        if isinstance(value, Mapping):
            return {key: self.render(item, f"{path}.{key}") for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            paths = (
                instance_path(index, item, path) if _INSTANCES.fullmatch(path) else f"{path}[{index}]"
                for index, item in enumerate(value)
            )
            return [self.render(item, here) for item, here in zip(value, paths)]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if self._loses_text(value):
            self._problems.add(path, "template_comment")
            return INVALID
        try:
            rendered = self._templar.template(value)
            # ansible-core 2.18 leaves it to the reader to decrypt a text that was encrypted by itself (!vault).
            if getattr(rendered, "__ENCRYPTED__", False):
                rendered = str(rendered)
            return _computed(rendered) if self._is_template(value) else rendered
        except AnsibleUndefinedVariable as error:
            self._problems.add(path, "template", error=_undefined(str(error), str(value), path))
        except AnsibleError as error:
            # The text of other errors may quote what was being rendered.
            self._problems.add(path, "template", error=type(error).__name__)
        return INVALID

    def _is_template(self, value: Any) -> bool:
        return not hasattr(value, "__UNSAFE__") and bool(self._templar.is_template(value))

    def _loses_text(self, value: Any) -> bool:
        """Whether Jinja would take a part away as a comment, here or in a variable that VALUE names."""
        if isinstance(value, dict):
            return any(self._loses_text(item) for item in value.values())
        if isinstance(value, list):
            return any(self._loses_text(item) for item in value)
        if value is None or isinstance(value, (bool, int, float)):
            return False
        try:
            text = str(value)
            if "{" not in text or not self._is_template(value):
                return False
            if any(kind == "comment_begin" for _line, kind, _part in self._lexer.lex(text)):
                return True
        except (AnsibleError, jinja2.TemplateSyntaxError):
            # Rendering reports it.
            return False
        return any(self._names_comment(name) for name in re.findall(r"[^\W\d]\w*", text))

    def _names_comment(self, name: str) -> bool:
        if name not in self._commented:
            # For variables that name each other in a circle.
            self._commented[name] = False
            self._commented[name] = name not in _MAGIC and self._loses_text(self._variables.get(name))
        return self._commented[name]


def _computed(value: Any) -> Any:
    """Templates yield text before ansible-core 2.19, and still do with variables of `-e name=value`."""
    if isinstance(value, str):
        return Computed(value)
    if isinstance(value, Mapping):
        return {key: _computed(item) for key, item in value.items()}
    return [_computed(item) for item in value] if isinstance(value, (list, tuple)) else value


def _undefined(error: str, text: str, path: str) -> str:
    """The undefined name. For a secret only if the name is written there: it may be a piece of the secret."""
    found = re.search(r"'(\w+)' is undefined", error)
    name = found[1] if found else ""
    written = text.strip().startswith("{{") and re.search(rf"\b{name}\b", text)
    if not name or (_SECRET.search(path) and not written):
        return "a variable is undefined"
    return f"'{name}' is undefined"
