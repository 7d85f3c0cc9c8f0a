# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Galaxy and `ansible-test sanity` want of roles and plugins, seen in seconds; `make sanity` runs the real one."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.stem for path in (ROOT / "plugins" / "filter").glob("[!_]*.py"))
MODULES = [
    importlib.import_module(f"ansible_collections.carrel.jupyter.plugins.filter.{name}") for name in FILES
]  # fmt: skip
OFFERED = {name: module for module in MODULES for name in module.FilterModule().filters()}


def test_filters_are_private_or_the_page_is_theirs() -> None:
    for name, module in OFFERED.items():
        page = yaml.safe_load(module.DOCUMENTATION)
        assert page["name"] == name or (name.startswith("_") and page["name"].startswith("_")), name
        # with a version, the changelog would show it to users
        assert name.startswith("_") != ("version_added" in page), name


def test_what_roles_and_playbooks_use_is_there() -> None:
    files = [*(ROOT / "roles").rglob("*.yml"), *(ROOT / "playbooks").rglob("*.yml")]
    used = {name for path in files for name in re.findall(r"\|\s*carrel\.jupyter\.(\w+)", path.read_text())}
    assert used and used <= set(OFFERED)


@pytest.mark.parametrize("role", sorted((ROOT / "roles").iterdir()), ids=lambda role: role.name)
def test_a_role_has_a_readme_with_an_example_of_itself(role: Path) -> None:
    text = (role / "README.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert f"carrel.jupyter.{role.name}" in example and isinstance(yaml.safe_load(example), list)
    assert "meta/argument_specs.yml" in text


@pytest.mark.parametrize("module", sorted((ROOT / "plugins" / "modules").glob("*.py")), ids=lambda path: path.stem)
def test_a_module_names_its_licence_and_an_author_with_a_handle(module: Path) -> None:
    text = module.read_text()
    assert "GNU General Public License v3.0+" in "".join(text.splitlines()[:20])
    assert not re.search(r"^(?!# Copyright).*carrel\.jupyter authors$", text, re.MULTILINE)


def test_the_version_that_is_recorded_is_that_of_galaxy_yml() -> None:
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"] == VERSION
