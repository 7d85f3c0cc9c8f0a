# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the images in jupyter_images, and the instances that use them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._images.build import NAME, OWN_NAMES
from ansible_collections.carrel.jupyter.plugins.module_utils._images.build import problems as wrong
from ansible_collections.carrel.jupyter.plugins.module_utils._images.declared import completed
from ansible_collections.carrel.jupyter.plugins.module_utils._images.kernels import Kernel, KernelError
from ansible_collections.carrel.jupyter.plugins.module_utils._images.kernels import read as read_kernel
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.image_keys import IMAGES
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.instance import ControlNode
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import Instance
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import (
    INVALID,
    Invalid,
    given,
    read,
    wrong_type,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.smoke import Images, read_notebooks
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import declared_name

OWN_BASE = OWN_NAMES[0]  # the role computes its tag


def to_build(instances: Iterable[Instance], only: Collection[str] | None) -> set[str]:
    """Return the names of the images that image_jobs will have."""
    present = [each for each in instances if each.state == "present" and (only is None or each.name in only)]
    return {name for instance in present for _key, name in _declared(instance)}


def read_images(
    value: Any, kernels: Any, built: Collection[str], control: ControlNode, problems: Problems
) -> Images | Invalid:
    """Return the smoke notebooks by the image's name, also if that is invalid. INVALID: a name is not known.

    BUILT: names of the images that this host builds. It need not know the kernels of others.
    """
    if value is None:
        return {}
    images: list[Any] | Invalid = read(IMAGES.type.read, value, "jupyter_images", problems)
    if isinstance(images, Invalid):
        return INVALID
    known = _read_kernels(kernels, control, problems) if built else None
    names: list[Any] = []
    found: dict[str, list[dict[str, Any]]] = {}
    complete = True
    for index, image in enumerate(images):
        path = f"jupyter_images[{index}]"
        name = image["name"] if isinstance(image, Mapping) else INVALID
        if isinstance(image, Mapping):
            _check_folder(image, path, control, problems)
            _check_build(value[index], path, known if name in built else None, problems)
        if given(name) and name in names:
            other = f"jupyter_images[{names.index(name)}]"
            problems.add(f"{path}.name", "declared_twice", value=show(name), other=other)
        names.append(name)
        if isinstance(image, Mapping) and name is not INVALID:
            found[name] = read_notebooks(image["smoke"], f"{path}.smoke", control, problems)
        # If a template failed, the image may have any name.
        raw = value[index]
        complete = complete and raw is not INVALID and not (isinstance(raw, Mapping) and raw.get("name") is INVALID)
    return found if complete else INVALID


def _check_folder(image: Mapping[str, Any], path: str, control: ControlNode, problems: Problems) -> None:
    folder = control.absolute(image["folder"]) if isinstance(image["folder"], str) else None
    if folder is not None and not control.is_dir(folder):
        problems.add(f"{path}.folder", "build_context", value=show(folder))


def _read_kernels(value: Any, control: ControlNode, problems: Problems) -> dict[str, Kernel] | None:
    """Return the collection's kernels and the host's own."""
    if value is INVALID:
        return None
    if value is not None and not isinstance(value, Mapping):
        wrong_type(value, "a mapping of names to kernels, as in docs/howto/kernels.md", "image_kernels", problems)
        return None
    try:
        return {name: read_kernel(name, kernel) for name, kernel in {**control.kernels(), **(value or {})}.items()}
    except KernelError as error:
        problems.add("image_kernels", "declared_kernel", problem=error)
        return None


def _check_build(image: Mapping[str, Any], path: str, kernels: Mapping[str, Kernel] | None, problems: Problems) -> None:
    """Check what image_build would refuse, once every key alone is good."""
    if _reported(path, problems):
        return
    entry = completed(image)
    for problem in wrong({**entry, "base": entry["base"] or OWN_BASE}, kernels):
        problems.add(path, "declared_image", problem=problem)


def _reported(path: str, problems: Problems) -> bool:
    return any(problem.path.startswith(path) for problem in problems.items)


def check_declared(instance: Instance, known: Collection[str] | Invalid, problems: Problems) -> None:
    """Check the declared images of an instance. KNOWN has the names in jupyter_images."""
    named = _declared(instance)
    for key, name in named:
        if name and not isinstance(known, Invalid) and name not in known:
            near = nearest(name, known)
            # Most likely this image is meant. Its invalid name is reported already.
            if near and not NAME.fullmatch(near):
                continue
            hint = f"; did you mean '{near}'?" if near else ""
            problems.add(f"{instance.path}.{key}.declared", "declared_unknown", value=show(name), hint=hint)
    if named and instance.pull == "always":
        problems.add(f"{instance.path}.pull", "build_pull")
    if named and given(instance.reset) and instance.reset["pull"] is True:
        problems.add(f"{instance.path}.reset.pull", "build_pull")


def _declared(instance: Instance) -> list[tuple[str, str]]:
    """Return the declared images of an instance by their keys."""
    choice: Any = getattr(instance, "images", None)
    images = [("image", instance.image)]
    if given(choice):
        images += [(f"images[{index}].image", item["image"]) for index, item in enumerate(choice) if given(item)]
    return [(key, name) for key, name in ((key, declared_name(image)) for key, image in images) if name is not None]
