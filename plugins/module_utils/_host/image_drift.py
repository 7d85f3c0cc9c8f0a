# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare declared images in an engine with their declarations, without changing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host.drift import TOLD, Project
from ansible_collections.carrel.jupyter.plugins.module_utils._images import build as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._images.kernels import KernelError

Answer = dict[str, Any]


def look(job: Mapping[str, Any], engine: Mapping[str, Any], kernels: Mapping[str, Any], cache: str) -> list[Answer]:
    """Return for each image of the JOB its name in the engine, or why a run would build, push or pull it."""
    answers = []
    for image in job["images"]:
        answer: Answer = {"engine": job["engine"], "name": image["name"], "image": None, "reasons": []}
        try:
            if not engine.get("running"):
                answer["reasons"] = [f"the engine {job['engine']} does not run"]
            else:
                _look_at(image, Project("", engine), kernels, cache, answer)
        except (*TOLD, KernelError) as error:
            answer["reasons"] = [str(error)]
        except Exception as error:  # the engine may answer anything
            answer["reasons"] = [f"it cannot be compared, because of a {type(error).__name__}"]
        answers.append(answer)
    return answers


def pushed_once(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers of all engines of a host. What one of them has pushed, the others need not push."""
    pushed = {answer["name"] for answer in answers if answer["image"]}
    found = []
    for answer in answers:
        image = answer.get("unpushed") if answer["name"] in pushed else None
        known = {key: value for key, value in answer.items() if key != "unpushed"}
        found.append({**known, "image": image, "reasons": []} if image else known)
    return found


def _look_at(
    declared: Mapping[str, Any], engine: Project, kernels: Mapping[str, Any], cache: str, answer: Answer
) -> None:
    if "pulled" in declared:
        image = declared["pulled"]
        if image is None:
            answer["reasons"] = ["not compared, because another host builds it in the same run"]
        elif engine.image(image) is None:
            answer["reasons"] = [f"the engine does not have {image}"]
        else:
            answer["image"] = image
        return
    builds, problems = decide.read_all([declared], kernels)
    if problems:
        answer["reasons"] = problems
        return
    build = builds[0]
    base: Mapping[str, Any] | None = engine.image(build.base) if build else {}
    if base is None:
        answer["reasons"] = [f"the engine does not have its base {build.base if build else ''}"]
        return
    jupyterlab: Mapping[str, Any] = {}
    if build and declared["settings"]:
        known = engine.examined(build.base, None, cache, base)
        if known is None or known.jupyterlab is None:
            answer["reasons"] = [f"no run has looked into the settings of its base {build.base}"]
            return
        jupyterlab = known.jupyterlab
    image, _unused = decide.made(declared, build, base, jupyterlab)
    found = engine.image(image)
    if found is None:
        answer["reasons"] = [f"the engine does not have {image}, the image that its declaration makes"]
    elif declared["push"] and not decide.pushed(found, declared["push"], image):
        answer["reasons"] = [f"{image} was not pushed to {declared['push']}"]
        answer["unpushed"] = image
    else:
        answer["image"] = image
