# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of test_plan_problems.py about smoke notebooks."""

from __future__ import annotations

import json
from typing import Any

from plan_helpers import CLASS, TAO, at_hub, here


def notebook(*cells: Any, **parts: Any) -> str:
    """A cell is its code, or its keys."""
    made = [
        {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        | (cell if isinstance(cell, dict) else {"source": cell})
        for cell in cells
    ]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **parts})


def _of(text: str) -> dict[str, Any]:
    return {**here(smoke=["good.ipynb", "check.ipynb"]), "files": {**GOOD, "/inventory/check.ipynb": text}}


GOOD = {"/inventory/good.ipynb": notebook("1")}
_SECOND = f"{TAO}.smoke[1]"
_FORMAT = "'/inventory/check.ipynb' can't be run: it is no notebook of format 4; save it with Jupyter"

SMOKE_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("wrong_type", f"{TAO}.smoke", "for example [files/notebooks/check.ipynb]", here(smoke="check.ipynb")),
    ("wrong_type", f"{TAO}.smoke[0]", "is a whole number", here(smoke=[7])),
    ("range", f"{TAO}.smoke_timeout_seconds", "to 3600", here(smoke_timeout_seconds=0)),
    ("smoke_file", f"{CLASS}.smoke[0]", "missing.ipynb' can't be read", at_hub(smoke=["missing.ipynb"])),
    ("smoke_file", f"{TAO}.smoke[0]", "(No such file or directory); write", here(smoke=["missing.ipynb"])),
    ("smoke_file", f"{TAO}.smoke[0]", "'/inventory/binary.ipynb' can't be read", here(smoke=["binary.ipynb"])),
    ("smoke_file", "jupyter_images[0].smoke[0]", "missing", {"images": [{"name": "s", "smoke": ["missing.ipynb"]}]}),
    ("smoke_notebook", _SECOND, "it is not JSON (line 2); save it with Jupyter", _of('{"cells":\n]')),
    ("smoke_notebook", _SECOND, "it is not JSON (line 1)", _of("")),
    ("smoke_notebook", _SECOND, "it has no code to run; write a cell with code", _of(notebook())),
    ("smoke_notebook", _SECOND, "it has no code", _of(notebook(" \n", {"cell_type": "markdown", "source": "x"}))),
    ("smoke_notebook", _SECOND, "it has more than 1 MiB; clear its outputs", _of(notebook("x" * 2**20))),
    *(
        ("smoke_notebook", _SECOND, _FORMAT, _of(text))
        for text in (
            "[]", "7", "null", '"cells"', "{}", "[" * 100_000, notebook("1", nbformat=3), notebook({"source": 7}),
            notebook({"source": [7]}), notebook({"source": None}), notebook({"source": "1", "metadata": []}),
            notebook("1", metadata={"kernelspec": {"name": ["python3"]}}), notebook("1", metadata=[]),
            notebook("1", cells={}), notebook("1", cells=[7]), notebook("\ud800"),
        )
    ),
]  # fmt: skip
