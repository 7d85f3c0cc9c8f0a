# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of modules: examples that the module takes, every returned key, links and check mode."""

from __future__ import annotations

import ast
import copy
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = {path.stem: path.read_text() for path in (ROOT / "plugins" / "modules").glob("*.py")}
NOT_RETURNED_BY_US = {"changed", "diff", "failed", "msg", "skipped"}


def constants(source: str) -> dict[str, Any]:
    """The YAML texts at the top of a module or a documentation fragment."""
    return {
        node.targets[0].id: yaml.safe_load(str(node.value.value))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and node.targets[0].id in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    }


def documentation(name: str) -> dict[str, Any]:
    """With the options and attributes of its fragments."""
    found = copy.deepcopy(constants(MODULES[name])["DOCUMENTATION"])
    for fragment in found.get("extends_documentation_fragment", []):
        path = ROOT / "plugins" / "doc_fragments" / f"{fragment.rsplit('.', 1)[1]}.py"
        more = constants(path.read_text())["DOCUMENTATION"]
        for part in ("options", "attributes"):
            for key, value in (more.get(part) or {}).items():
                found.setdefault(part, {}).setdefault(key, {}).update(
                    {name: text for name, text in value.items() if name not in found[part][key]}
                )
    return found


def flat(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the tasks in blocks."""
    inner = [task for outer in tasks for part in ("block", "rescue", "always") for task in outer.get(part, [])]
    return [*tasks, *(flat(inner) if inner else [])]


def problems(given: Any, options: dict[str, Any], path: str) -> list[str]:
    """What is wrong with the arguments of an example; text with braces may become anything."""
    if isinstance(given, str) and "{{" in given:
        return []
    found = [f"{path}{key} is not an option" for key in given if key not in options]
    found += [f"{path}{key} is required" for key, it in options.items() if it.get("required") and key not in given]
    for key in given.keys() & options.keys():
        option, value = options[key], given[key]
        if "choices" in option and value not in option["choices"]:
            found.append(f"{path}{key} cannot be {value}")
        if option["type"] == "bool" and not isinstance(value, bool) and "{{" not in str(value):
            found.append(f"{path}{key} is not true or false")
        if option["type"] == "list" and not isinstance(value, list) and "{{" not in str(value):
            found.append(f"{path}{key} is not a list")
        for item in value if option.get("suboptions") and isinstance(value, list) else []:
            found += problems(item, option["suboptions"], f"{path}{key}.")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_examples_have_options_that_the_module_takes(module: str) -> None:
    tasks = constants(MODULES[module])["EXAMPLES"]
    ours = [(name, given) for task in flat(tasks) for name, given in task.items() if name.startswith("carrel.jupyter.")]
    assert f"carrel.jupyter.{module}" in [name for name, _given in ours]
    for name, given in ours:
        assert problems(given or {}, documentation(name.rsplit(".", 1)[1]).get("options") or {}, "") == []


def test_a_wrong_example_is_found() -> None:
    options = documentation("user_volumes")["options"]
    wrong = {"users": [{"nam": "ada", "state": "gone"}], "purge": "yes", "directories": "home"}
    assert sorted(problems(wrong, options, "")) == [
        "directories is not a list",
        "purge is not true or false",
        "users.nam is not an option",
        "users.name is required",
        "users.state cannot be gone",
    ]


@pytest.mark.parametrize("module", MODULES)
def test_every_returned_key_is_documented(module: str) -> None:
    returned = {
        keyword.arg
        for node in ast.walk(ast.parse(MODULES[module]))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (node.func.attr == "exit_json" or ast.unparse(node.func).endswith("tracker.result"))
        for keyword in node.keywords
        if keyword.arg
    }
    assert returned - NOT_RETURNED_BY_US <= set(constants(MODULES[module]).get("RETURN") or {})


def ends(source: str) -> list[tuple[bool, set[str]]]:
    """Whether each end of a module is a failure, and the keys that it returns; without ends whose keys are computed."""
    found = []
    for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
        assigned = {
            node.targets[0].id: keys_of(node.value)
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(function):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            keys = keys_of(node, assigned)
            if node.func.attr in ("exit_json", "fail_json") and keys is not None:
                found.append((node.func.attr == "fail_json", keys))
    return found


def keys_of(node: ast.expr, assigned: dict[str, set[str] | None] | None = None) -> set[str] | None:
    """The keys of a dictionary, or of what a call is given; None if they are computed."""
    given: list[tuple[str | None, ast.expr]] = []
    if isinstance(node, ast.Name):
        return (assigned or {}).get(node.id)
    if isinstance(node, ast.Dict):
        given = [
            (key.value if isinstance(key, ast.Constant) else None, value) for key, value in zip(node.keys, node.values)
        ]
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".result", ".exit_json", ".fail_json")):
        given = [(keyword.arg, keyword.value) for keyword in node.keywords]
    else:
        return None
    found: set[str] = set()
    for name, value in given:
        more = {name} if name else keys_of(value, assigned)
        if more is None:
            return None
        found |= more
    return found


@pytest.mark.parametrize("module", MODULES)
def test_when_a_key_is_returned_is_documented_as_it_is(module: str) -> None:
    known = ends(MODULES[module])
    for key, text in (constants(MODULES[module]).get("RETURN") or {}).items():
        if text["returned"] == "always" and key != "changed":
            assert all(key in keys for _failed, keys in known), key
        if text["returned"] == "success":
            assert not any(key in keys for failed, keys in known if failed), key
        if text["returned"] == "unless the input is refused":
            assert any(failed and key not in keys for failed, keys in known), key


@pytest.mark.parametrize("module", MODULES)
def test_check_mode_is_documented_as_it_is(module: str) -> None:
    support = documentation(module)["attributes"]["check_mode"]["support"]
    spec = [
        keyword.value.value
        for node in ast.walk(ast.parse(MODULES[module]))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "AnsibleModule"
        for keyword in node.keywords
        if keyword.arg == "supports_check_mode" and isinstance(keyword.value, ast.Constant)
    ]
    # the module plan is an action plugin
    assert module == "plan" or spec == [support != "none"]


@pytest.mark.parametrize("module", MODULES)
def test_what_an_option_requires_or_excludes_is_documented(module: str) -> None:
    options = documentation(module).get("options") or {}
    inner = {key: value for option in options.values() for key, value in option.get("suboptions", {}).items()}
    nodes = list(ast.walk(ast.parse(MODULES[module])))
    # what it validates is no option
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "ArgumentSpecValidator"]
    others = [keyword for call in calls for keyword in call.keywords]
    for node in (node for node in nodes if node not in others):
        pairs = list(zip(node.keys, node.values)) if isinstance(node, ast.Dict) else []
        pairs += [(ast.Constant(node.arg), node.value)] if isinstance(node, ast.keyword) else []
        for kind, rule in ((key.value, value) for key, value in pairs if isinstance(key, ast.Constant)):
            if kind in RULES:
                told = {name: said(option) for name, option in {**inner, **options}.items()}
                assert list(RULES[str(kind)](ast.literal_eval(rule), told)) == []


def said(option: dict[str, Any]) -> str:
    text = option["description"]
    return text if isinstance(text, str) else " ".join(text)


def named(option: str, text: str, before: str = "") -> bool:
    """Whether a sentence names another option, with words BEFORE it."""
    return re.search(rf"{before}[^.]*\bO\((\w+\[\]\.)?{option}\)", text) is not None


def not_with(rule: list[tuple[str, ...]], told: dict[str, str]) -> Iterator[str]:
    for one, other in (pair for group in rule for pair in itertools.combinations(group, 2)):
        if not named(other, told[one], "[Nn]ot ") and not named(one, told[other], "[Nn]ot "):
            yield f"{one} does not say that it is not allowed with {other}"


def one_of(rule: list[tuple[str, ...]], told: dict[str, str]) -> Iterator[str]:
    for group in rule:
        required = [name for name in group if re.search(r"[Rr]equire", told[name])]
        if not any(all(named(other, told[name]) for other in group if other != name) for name in required):
            yield f"none of {group} says that it is required without the others"


def needed_with(rule: list[tuple[str, str, list[str]]], told: dict[str, str]) -> Iterator[str]:
    for option, value, others in rule:
        for other in others:
            if not named(f"{option}={value}", told[other], "[Rr]equired "):
                yield f"{other} does not say that it is required with {option}={value}"


def needed_by(rule: dict[str, list[str]], told: dict[str, str]) -> Iterator[str]:
    for option, others in rule.items():
        yield from (f"{option} does not name {other}" for other in others if not named(other, told[option]))


RULES: dict[str, Callable[[Any, dict[str, str]], Iterator[str]]] = {
    "mutually_exclusive": not_with,
    "required_one_of": one_of,
    "required_if": needed_with,
    "required_by": needed_by,
}


@pytest.mark.parametrize("module", MODULES)
def test_related_modules_are_named_and_there(module: str) -> None:
    related = [entry["module"] for entry in documentation(module).get("seealso", [])]
    assert related and len(set(related)) == len(related)
    for name in related:
        assert name.removeprefix("carrel.jupyter.") in MODULES and name != f"carrel.jupyter.{module}"
