# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors that the comparison of an instance shows, instead of their names."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import drift, secret_files
from ansible_collections.carrel.jupyter.plugins.module_utils._site.quotas import ForeignProjectError
from installed_modules import PACKAGE, imported

COMPARES = ("_host/drift.py", "_host/hub_drift.py", "_host/lab_drift.py")
# Nothing is run to compare. What this error says is no sentence: its caller says which program it was.
NOT_RAISED = {"EndlessError"}


def errors() -> list[type[Exception]]:
    files = sorted({file for start in COMPARES for file in imported(start)})
    modules = [importlib.import_module(f"{PACKAGE}.{file[:-3].replace('/', '.')}") for file in files]
    return [
        found
        for module in modules
        for _name, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, Exception) and found.__module__ == module.__name__ and found.__name__ not in NOT_RAISED
    ]


@pytest.mark.parametrize("error", errors(), ids=lambda error: str(error.__name__))
def test_the_comparison_shows_what_an_error_says(error: type[Exception]) -> None:
    assert issubclass(error, drift.TOLD)


def test_no_two_of_them_have_one_name() -> None:
    names = [error.__name__ for error in errors()]
    assert len(names) > 10 and sorted(names) == sorted(set(names))


def reason(look: drift.Look) -> str:
    around = drift.Surroundings(engines={}, programs={})
    (found,) = drift.looked(look, {"name": "nobody-has-this"}, around).all_reasons()
    return found


def test_a_directory_of_another_project_says_what_to_do() -> None:
    def look(_instance: object, _around: object, _found: drift.Found) -> None:
        raise ForeignProjectError("/srv/tao is in the project 7 of another owner: take it out")

    assert reason(look) == "/srv/tao is in the project 7 of another owner: take it out"


def test_damaged_secrets_say_what_to_do_and_nothing_of_themselves(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    hub.mkdir()
    (hub / "secrets.json").write_text('{"cookie_secret": "4a5b", ')

    def look(_instance: object, _around: object, found: drift.Found) -> None:
        secret_files.apply({"directory": str(tmp_path)}, True, found.tracker)

    found = reason(look)
    assert "secrets.json is damaged" in found and "Restore it from a backup" in found and "4a5b" not in found
