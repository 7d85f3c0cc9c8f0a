# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that jupyter_images declares, and the instances that name them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._images.build import NAME
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.instance import ControlNode
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import Instance
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, kind_of, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    anything,
    given,
    listing,
    read,
    text,
    wrong_type,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import declared_name, texts, variables

_name = text("a name in quotes")


def _labels(value: Any, path: str, problems: Problems) -> dict[str, str] | Invalid:
    return texts(value, 'a mapping, for example {version: "1.0"}', path, problems)


_TEXTS = {"build_args": variables('a mapping, for example {VERSION: "1.0"}'), "labels": _labels}


IMAGES = Key(
    Type(
        listing(anything, "a list of images, for example [{name: statistics, kernels: [r]}]"),
        "a list of images, with the keys that [images.md](../howto/images.md) explains",
        {},
        "list",
        "dict",
    ),
    "Images that engines build for the instances that name them with `image: {declared: NAME}`.",
    example=[{"name": "statistics", "kernels": ["r"]}],
)


def read_images(value: Any, control: ControlNode, problems: Problems) -> list[str] | Invalid:
    """The names, bad ones too; INVALID if one is not known. What else an image has is checked by image_build."""
    if value is None:
        return []
    images: list[Any] | Invalid = read(IMAGES.type.read, value, "jupyter_images", problems)
    if isinstance(images, Invalid):
        return INVALID
    names: list[Any] = []
    complete = True
    for index, item in enumerate(images):
        path = f"jupyter_images[{index}]"
        name = read(_read_name, item, path, problems)
        if isinstance(item, Mapping):
            _check_texts(item, path, problems)
            _check_folder(item, path, control, problems)
        if given(name) and name in names:
            other = f"jupyter_images[{names.index(name)}]"
            problems.add(f"{path}.name", "declared_twice", value=show(name), other=other)
        names.append(name)
        # One that could not be rendered may have any name.
        complete = complete and item is not INVALID and not (isinstance(item, Mapping) and item.get("name") is INVALID)
    return [name for name in names if name is not INVALID] if complete else INVALID


def _read_name(value: Any, path: str, problems: Problems) -> str | Invalid:
    if not isinstance(value, Mapping):
        wanted = "a mapping of name and what is in the image, as in docs/howto/images.md"
        return wrong_type(value, wanted, path, problems)
    if value.get("name") is None:
        problems.add(f"{path}.name", "missing", wanted="a name, for example statistics")
        return INVALID
    name: str | Invalid = read(_name, value["name"], f"{path}.name", problems)
    if isinstance(name, str) and not NAME.fullmatch(name):
        problems.add(f"{path}.name", "declared_name", value=show(name))
    return name


def _check_texts(image: Mapping[str, Any], path: str, problems: Problems) -> None:
    """What the module can't see: YAML may have changed it before."""
    for key, reader in _TEXTS.items():
        if image.get(key) is not None:
            read(reader, image[key], f"{path}.{key}", problems)
    files = image.get("files")
    for index, file in enumerate(files if isinstance(files, list) else []):
        for key in ("mode", "content") if isinstance(file, Mapping) else ():
            if isinstance(file.get(key), (int, float)):
                problems.add(f"{path}.files[{index}].{key}", "not_text", got=kind_of(file[key]))


def _check_folder(image: Mapping[str, Any], path: str, control: ControlNode, problems: Problems) -> None:
    folder = control.absolute(image["folder"]) if isinstance(image.get("folder"), str) else None
    if folder is not None and not control.is_dir(folder):
        problems.add(f"{path}.folder", "build_context", value=show(folder))


def check_declared(instance: Instance, known: Collection[str] | Invalid, problems: Problems) -> None:
    """KNOWN: the names that jupyter_images declares."""
    choice: Any = getattr(instance, "images", None)
    images = [("image", instance.image)]
    if given(choice):
        images += [(f"images[{index}].image", item["image"]) for index, item in enumerate(choice) if given(item)]
    named = [(key, declared_name(image)) for key, image in images if declared_name(image) is not None]
    for key, name in named:
        if name and not isinstance(known, Invalid) and name not in known:
            near = nearest(str(name), known)
            # Most likely this one is meant, and its own problem is reported.
            if near and not NAME.fullmatch(near):
                continue
            hint = f"; did you mean '{near}'?" if near else ""
            problems.add(f"{instance.path}.{key}.declared", "declared_unknown", value=show(name), hint=hint)
    if named and instance.pull == "always":
        problems.add(f"{instance.path}.pull", "build_pull")
    if named and given(instance.reset) and instance.reset["pull"] is True:
        problems.add(f"{instance.path}.reset.pull", "build_pull")
