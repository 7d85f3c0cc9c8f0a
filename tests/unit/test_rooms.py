# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""plugins/module_utils: only the room _host reads and writes, and what the hub's image runs needs nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOMS = Path(__file__).parents[2] / "plugins" / "module_utils"
PACKAGE = "ansible_collections.carrel.jupyter.plugins.module_utils"
# Of the standard library, what reads or writes something. pathlib has paths without files, too: use posixpath.
ACTS = {
    "asyncio",
    "fcntl",
    "fileinput",
    "ftplib",
    "getpass",
    "glob",
    "grp",
    "http",
    "mmap",
    "multiprocessing",
    "os",
    "pathlib",
    "pwd",
    "random",
    "resource",
    "select",
    "selectors",
    "shutil",
    "signal",
    "smtplib",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib.request",
    "zoneinfo",
}
CALLS = {"open", "print", "input", "exec", "eval", "__import__"}


def modules(room: str) -> list[Path]:
    return [path for path in sorted((ROOMS / room).glob("*.py")) if path.name != "__init__.py"]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def acts(name: str) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:length]) in ACTS for length in range(1, len(parts) + 1))


def faults(source: str) -> list[str]:
    """What a pure room must not have."""
    tree = ast.parse(source)
    found = [name for name in imports(tree) if acts(name) or name.startswith((f"{PACKAGE}._host", "ansible."))]
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return found + [call.id for call in calls if isinstance(call, ast.Name) and call.id in CALLS]


PURE = [path.name for path in sorted(ROOMS.glob("_*")) if path.is_dir() and path.name not in ("__pycache__", "_host")]


def test_every_module_is_in_a_room() -> None:
    assert [path.name for path in ROOMS.glob("*.py")] == []
    assert len(PURE) > 5 and all(modules(room) for room in PURE)


@pytest.mark.parametrize("room", PURE)
def test_only_host_reads_or_writes(room: str) -> None:
    assert {path.name: found for path in modules(room) if (found := faults(path.read_text()))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import os.path",
        "from os import path",
        "from pathlib import Path",
        "import http.client",
        "from urllib import request",
        "from time import monotonic",
        "import ansible.module_utils.basic",
        f"from {PACKAGE}._host import files",
        f"from {PACKAGE}._host.files import read",
        "text = open('/etc/subuid').read()",
    ],
)
def test_modules_that_read_or_write_are_found(line: str) -> None:
    assert faults(line)


def test_what_is_needed_while_a_module_runs_is_in_one_folder_that_goes_with_it() -> None:
    """Not in Ansible's own folder, which warns where there is none yet."""
    modules = {path.name: path.read_text() for path in (ROOMS.parent / "modules").glob("*.py")}
    made = {name: text for name, text in modules.items() if "tempfile" in text}
    assert made
    for name, text in made.items():
        assert 'with tempfile.TemporaryDirectory(prefix="carrel-")' in text, name
        assert "NamedTemporaryFile" not in text and ".tmpdir" not in text, name


def test_shared_needs_the_standard_library_alone() -> None:
    """The image of the hub has this room and none of the others."""
    ours = {name for path in modules("_shared") for name in imports(ast.parse(path.read_text())) if "carrel" in name}
    assert {name for name in ours if not name.startswith(f"{PACKAGE}._shared.")} == set()
