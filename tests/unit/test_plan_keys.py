# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared about each key of the inventory is true: its example is taken, its bad value refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import keys
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import HUB
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_several import ALL_TYPES
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.image_keys import IMAGE
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import LAB
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import LIMITS
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.variables import VARIABLES

EXAMPLE = Path(__file__).parents[2] / "inventories" / "example"


def every(keys: Mapping[str, Key], above: str) -> Iterator[tuple[str, Key]]:
    """All keys with their paths."""
    for name, key in keys.items():
        yield f"{above}.{name}", key
        # Which keys an authenticator has depends on its type.
        if name != "authenticator":
            yield from every(key.type.keys, f"{above}.{name}")


TABLES = {
    "variables": VARIABLES,
    "lab": LAB,
    "hub": HUB,
    **{f"hub.authenticator({kind})": keys for kind, keys in ALL_TYPES.items()},
}
KEYS = [pair for above, keys in TABLES.items() for pair in every(keys, above)]
each_key = pytest.mark.parametrize(("path", "key"), KEYS, ids=[path for path, _key in KEYS])


@each_key
def test_every_key_has_a_description(path: str, key: Key) -> None:
    assert key.says.endswith(".") and len(key.says) < 200 and key.type.words
    assert key.default is None or not key.needed


@each_key
def test_the_example_is_taken_and_no_default(path: str, key: Key) -> None:
    problems = Problems()
    value = key.type.read(key.example, path, problems)
    assert problems.items == [] and value is not INVALID
    assert value != key.default or key.default is None


@each_key
def test_the_bad_value_is_refused_and_a_secret_not_shown(path: str, key: Key) -> None:
    problems = Problems()
    key.type.read(key.type.bad, path, problems)
    assert problems.items
    assert not key.secret or all(str(key.type.bad) not in problem.message for problem in problems.items)


@each_key
def test_a_plain_default_is_what_could_be_written(path: str, key: Key) -> None:
    """Only what is made of several keys is kept in another form than it is written in."""
    if isinstance(key.default, (str, int, float, bool)):
        problems = Problems()
        assert key.type.read(key.default, path, problems) == key.default and problems.items == []


def shown(keys: Mapping[str, Key], values: Any, above: str) -> Iterator[str]:
    """The path of each key that is written, however it is."""
    for name, item in values.items() if isinstance(values, dict) and keys else ():
        path = f"{above}.{name}"
        yield path
        # groups have names of their own
        parts = item.values() if path == "hub.groups" else item if isinstance(item, list) else [item]
        for part in parts:
            yield from shown(keys[name].type.keys, part, path)


def test_the_example_inventory_shows_every_key_once() -> None:
    files = [*EXAMPLE.glob("host_vars/*.yml"), EXAMPLE / "group_vars" / "all" / "jupyter.yml"]
    variables = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    instances = [item for each in variables for item in each.get("jupyter_instances", [])]
    (defaults,) = (each["jupyter_defaults"] for each in variables if "jupyter_defaults" in each)
    written = [path for item in instances for path in shown({**LAB, **HUB}, item, item.get("kind", "lab"))]
    written += shown(LAB, defaults, "lab")
    written += [
        path for each in variables for item in each.get("jupyter_images", []) for path in shown(IMAGE, item, "image")
    ]
    # What holds for all instances: an instance has the other keys of its own backup.
    written += [f"lab.backup.{key}" for each in variables for key in each.get("jupyter_backup", {})]
    # What a hub shares with labs is shown there; of authenticators one, under which users have no passwords.
    hub = {name: key for name, key in HUB.items() if name not in LAB or name == "persist"}
    every_key = (*every(LAB, "lab"), *every(hub, "hub"), *every(IMAGE, "image"))
    wanted = {path for path, _key in every_key} - {"hub.users.password"}
    wanted |= {f"hub.authenticator.{key}" for key in ("type", *ALL_TYPES["oidc"])}
    # Limits stand in four places; one is enough.
    of_containers = {path for path in wanted if path.rpartition(".")[2] in LIMITS}
    assert LIMITS.keys() <= {path.rpartition(".")[2] for path in written}
    assert sorted(wanted - of_containers - set(written)) == []
    needed = {"name", "kind", "url", "state", "image", "build", "login", "source", "title", "declared"}
    twice = {path for path in written if written.count(path) > 1 and path.rpartition(".")[2] not in needed}
    assert sorted(twice) == []


def test_no_hub_is_shown_with_an_image_that_hubs_refuse() -> None:
    """docker-stacks' images of that time have JupyterHub 5."""
    dated = re.compile(r"quay\.io/jupyter/\S+:20\d\d-")
    hubs = [
        instance
        for file in EXAMPLE.parent.glob("*/*_vars/**/*.yml")
        for key, listed in yaml.safe_load(file.read_text(encoding="utf-8").replace("!unsafe ", "")).items()
        if key.startswith("jupyter_instances")
        for instance in listed
        if instance.get("kind") == "hub"
    ]
    assert len(hubs) >= 5
    assert [hub["name"] for hub in hubs if dated.search(str(hub))] == []
    assert [path for path, key in every(HUB, "hub") if dated.search(str(key.example))] == []


def test_every_file_that_declares_keys_is_named_where_people_learn_of_them() -> None:
    guide = (
        (EXAMPLE.parents[1] / "CONTRIBUTING.md")
        .read_text(encoding="utf-8")
        .partition("## Inventory keys")[2]
        .partition("\n## ")[0]
    )
    texts = {path.name: path.read_text(encoding="utf-8") for path in Path(keys.__file__).parent.glob("*.py")}
    declaring = {name for name, text in texts.items() if re.search(r"\bKey\(", text)} - {"key.py", "defaults.py"}
    assert len(declaring) > 10 and {name for name in declaring if f"`{name}`" not in guide} == set()


def test_every_variable_is_in_the_example_inventory() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in EXAMPLE.glob("*_vars/**/*.yml"))
    assert [name for name in VARIABLES if f"{name}:" not in text] == []
