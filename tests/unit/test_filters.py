# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters are pages that everybody sees: private ones say so by their name, the others have documentation."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.stem for path in (ROOT / "plugins" / "filter").glob("[!_]*.py"))
MODULES = [
    importlib.import_module(f"ansible_collections.carrel.jupyter.plugins.filter.{name}") for name in FILES
]  # fmt: skip
OFFERED = {name: module for module in MODULES for name in module.FilterModule().filters()}


def test_filters_are_private_or_the_page_is_theirs() -> None:
    for name, module in OFFERED.items():
        page = yaml.safe_load(module.DOCUMENTATION)["name"]
        assert page == name or (name.startswith("_") and page.startswith("_")), name


def test_what_roles_and_playbooks_use_is_there() -> None:
    files = [*(ROOT / "roles").rglob("*.yml"), *(ROOT / "playbooks").rglob("*.yml")]
    used = {name for path in files for name in re.findall(r"\|\s*carrel\.jupyter\.(\w+)", path.read_text())}
    assert used and used <= set(OFFERED)
