# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program of a role imports of module_utils, and a copy of it as the role installs it."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterable
from pathlib import Path

PACKAGE = "ansible_collections.carrel.jupyter.plugins.module_utils"
ROOMS = Path(__file__).parents[2] / "plugins" / "module_utils"


def imported(start: str) -> set[str]:
    """All that a module imports, of the collection."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse((ROOMS / file).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
                below = str(node.module).removeprefix(PACKAGE).strip(".").replace(".", "/")
                names = [f"{below}.py", *(f"{below}/{alias.name}.py" for alias in node.names)]
                waiting += [name for name in names if (ROOMS / name).is_file()]
    return found


def install(modules: Iterable[str], library: Path) -> None:
    for module in modules:
        place = library / PACKAGE.replace(".", "/") / module
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOMS / module, place)
