# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A good instance, a control node and a host to plan with."""

from __future__ import annotations

from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan_problems import Problem, Problems

HOST: dict[str, Any] = {
    "instances": {},
    "engines": {},
    "accounts": {"root": 0, "ada": 1000},
    "listening_ports": [22, 8900],
    "memory_bytes": 8 << 30,
    "cpus": 4,
}
TAO = "jupyter_instances[0] (tao)"
GEO = "jupyter_instances[1] (geo)"


class Control:
    """A control node that has what its paths say."""

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
        return "<form></form>"


def lab(**keys: Any) -> dict[str, Any]:
    """A good instance with other keys; a key that is `...` is left out."""
    good: dict[str, Any] = {
        "name": "tao",
        "url": "https://tao.example.org/",
        "image": "registry.example.org/lab:1.0",
        "tls": "selfsigned",
    }
    return {key: item for key, item in {**good, **keys}.items() if item is not ...}


def two(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    return [lab(**first), lab(**{"name": "geo", "url": "https://geo.example.org/", **second})]


def plan(instances: Any, **inputs: Any) -> tuple[dict[str, Any] | None, list[Problem]]:
    problems = Problems()
    return make_plan(Inputs(instances=instances, **inputs), Control(), problems), problems.items


def host(**parts: Any) -> dict[str, Any]:
    return {**HOST, **parts}


def here(**keys: Any) -> dict[str, Any]:
    return {"instances": [lab(**keys)]}
