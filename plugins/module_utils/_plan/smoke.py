# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read smoke notebooks from files of the control node, for new servers to run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import Hub
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.instance import ControlNode, read_file
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import Lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import Invalid, given, known
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import declared_name

LONGEST = 1 << 20  # characters of a file
# nbclient's tags
RAISES, SKIP = "raises-exception", "skip-execution"

Images = Mapping[str, Sequence[dict[str, Any]]]


def read_notebooks(paths: object, path: str, control: ControlNode, problems: Problems) -> list[dict[str, Any]]:
    """Return the notebooks at PATHS. Adds a problem below PATH for each one that cannot run."""
    found = []
    for index, name in enumerate(paths if isinstance(paths, list) else []):
        here = f"{path}[{index}]"
        text = read_file(here, name, "smoke_file", control, problems) if given(name) else None
        if text is None:
            continue
        try:
            found.append({"name": name, **parsed(text)})
        except ValueError as error:
            problems.add(here, "smoke_notebook", value=show(control.absolute(name)), error=str(error))
    return found


def check_smoke(instance: Lab | Hub, images: Images | Invalid, control: ControlNode, problems: Problems) -> None:
    """Fill in the notebooks, those of images first. IMAGES has the notebooks of jupyter_images by name.

    A hub's notebooks have `images`: the numbers of the hub's images in which they run.
    """
    of_images = {} if isinstance(images, Invalid) else images
    own = read_notebooks(instance.smoke, f"{instance.path}.smoke", control, problems)
    if isinstance(instance, Lab):
        declared = declared_name(instance.image) if instance.image else None
        instance.smoke = [*of_images.get(declared or "", []), *own]
        return
    names = [declared_name(item["image"]) for item in known(instance.images)]
    found = [
        {**notebook, "images": [number for number, each in enumerate(names) if each == name]}
        for name in dict.fromkeys(filter(None, names))
        for notebook in of_images.get(name, [])
    ]
    instance.smoke = [*found, *({**notebook, "images": list(range(len(names)))} for notebook in own)]


def parsed(text: str) -> dict[str, Any]:
    """Return the `cells` to run and the `kernel`, which is None for the server's default.

    Raises a ValueError that says why the notebook cannot run, and what to do.
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has more than {LONGEST >> 20} MiB; clear its outputs")
    try:
        notebook = json.loads(text)
        cells = [_cell(number, cell) for number, cell in enumerate(notebook["cells"], 1) if _runs(cell)]
        spec = notebook.get("metadata", {}).get("kernelspec", {}).get("name")
        written = isinstance(notebook["cells"], list) and isinstance(spec, (str, type(None)))
        if notebook["nbformat"] != 4 or not written:
            raise TypeError
        json.dumps([spec, cells], ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON (line {error.lineno}); save it with Jupyter") from error
    except (AttributeError, KeyError, TypeError, RecursionError, UnicodeError) as error:
        raise ValueError("it is no notebook of format 4; save it with Jupyter") from error
    if not cells:
        raise ValueError("it has no code to run; write a cell with code")
    return {"kernel": spec, "cells": cells}


def _runs(cell: Mapping[str, Any]) -> bool:
    return cell["cell_type"] == "code" and SKIP not in _tags(cell) and bool(_source(cell).strip())


def _cell(number: int, cell: Mapping[str, Any]) -> dict[str, Any]:
    return {"number": number, "source": _source(cell), "raises": RAISES in _tags(cell)}


def _tags(cell: Mapping[str, Any]) -> Sequence[Any]:
    tags = cell.get("metadata", {}).get("tags", [])
    return tags if isinstance(tags, list) else []


def _source(cell: Mapping[str, Any]) -> str:
    """Return the source as one text. Files may have a list of lines instead."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def smoke_text(notebooks: Sequence[Mapping[str, Any]]) -> str:
    """Name the notebooks for the summary."""
    return "smoke " + ", ".join(notebook["name"] for notebook in notebooks)
