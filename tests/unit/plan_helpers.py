# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A good instance, a control node and a host to plan with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problem, Problems

HOST: dict[str, Any] = {
    "instances": {},
    "engines": {},
    "accounts": {"root": 0, "ada": 1000},
    "taken_in_part": [],
    "listening_ports": [22, 8900],
    "ephemeral_ports": [32768, 60999],
    "memory_bytes": 8 << 30,
    "cpus": 4,
}
KERNELS = Path(__file__).parents[2] / "images/kernels"
TAO = "jupyter_instances[0] (tao)"
CLASS = "jupyter_instances[0] (class101)"
GEO = "jupyter_instances[1] (geo)"


class Control:
    """A control node that has what its paths say, and what FILES says."""

    def __init__(self, files: dict[str, str] | None = None) -> None:
        self.files = files or {}

    def absolute(self, path: str) -> str:
        return path if path.startswith("/") else f"/inventory/{path}"

    def is_dir(self, path: str) -> bool:
        return "missing" not in path

    def is_file(self, path: str) -> bool:
        return "missing" not in path and "nofile" not in path

    def read_text(self, path: str) -> str:
        if "missing" in path:
            raise FileNotFoundError(2, "No such file or directory")
        if "binary" in path:
            return b"\xff".decode("utf-8")
        return self.files.get(path, "<form></form>")

    def kernels(self) -> dict[str, Any]:
        return {file.stem: yaml.safe_load(file.read_text()) for file in KERNELS.glob("*.yml")}

    def timezones(self) -> dict[str, str]:
        today = {name: name for name in ("Europe/Berlin", "America/New_York", "UTC", "Asia/Kolkata")}
        return {**today, "Asia/Calcutta": "Asia/Kolkata", "US/Eastern": "America/New_York"}


def lab(**keys: Any) -> dict[str, Any]:
    """A good instance with other keys; a key that is `...` is left out."""
    good: dict[str, Any] = {
        "name": "tao",
        "url": "https://tao.example.org/",
        "image": "registry.example.org/lab:1.0",
        "tls": "selfsigned",
    }
    return {key: item for key, item in {**good, **keys}.items() if item is not ...}


def hub(**keys: Any) -> dict[str, Any]:
    """A good hub with other keys; a key that is `...` is left out."""
    good = {"name": "class101", "kind": "hub", "url": "https://class101.example.org/", "users": ["ada", "grace"]}
    return lab(**{**good, **keys})


def two(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    return [lab(**first), lab(**{"name": "geo", "url": "https://geo.example.org/", **second})]


def plan(
    instances: Any, *, files: dict[str, str] | None = None, **inputs: Any
) -> tuple[dict[str, Any] | None, list[Problem]]:
    """FILES: text by path on the control node, where the inventory is in /inventory."""
    problems = Problems()
    return make_plan(Inputs(instances=instances, **inputs), Control(files), problems), problems.items


def good(instances: list[dict[str, Any]], **inputs: Any) -> dict[str, Any]:
    result, problems = plan(instances, **inputs)
    assert result is not None, problems
    return result


def host(**parts: Any) -> dict[str, Any]:
    return {**HOST, **parts}


def at_hub(**keys: Any) -> dict[str, Any]:
    return {"instances": [hub(**keys)]}


def here(**keys: Any) -> dict[str, Any]:
    return {"instances": [lab(**keys)]}
