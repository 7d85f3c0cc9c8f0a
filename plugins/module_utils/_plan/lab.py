# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check how the keys of one lab depend on each other."""

from __future__ import annotations

import re

from ansible_collections.carrel.jupyter.plugins.module_utils._plan.instance import ControlNode, check_targets
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import Lab
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.reset import check_reset
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, given
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import has_tag_or_digest

# Traits of jupyter_server and notebook that decide who may log in. The command line overrides the configuration that
# the role writes. A text such as NOTEBOOK_ARGS has several options.
_LOGIN_OPTION = re.compile(
    r"--(?:[A-Za-z]+\.)(?:token|password|hashed_password|password_required|identity_provider_class|login_handler_class)\b"
)
# The number of wrong passwords is limited (role apache), the number of wrong tokens is not.
_SHORTEST = {"password": 8, "token": 16}


def check_lab(lab: Lab, control: ControlNode, problems: Problems) -> None:
    """Check a lab, and fill in the absolute path of build.context."""
    _check_image(lab, problems)
    _check_token(lab, problems)
    _check_login_options(lab, problems)
    lab.warnings += check_reset(lab.reset, f"{lab.path}.reset", [lab.image], control.timezones(), problems)
    _check_mounts(lab, problems)
    _check_build(lab, control, problems)


def _check_image(lab: Lab, problems: Problems) -> None:
    if lab.image is not None and lab.build is not None:
        problems.add(f"{lab.path}.build", "image_and_build")
    elif lab.image is None and lab.build is None:
        problems.add(f"{lab.path}.image", "image_or_build")
    if lab.build is not None and lab.pull == "always":
        problems.add(f"{lab.path}.pull", "build_pull")
    if given(lab.reset) and lab.reset["pull"] is True:
        if lab.build is not None:
            problems.add(f"{lab.path}.reset.pull", "build_pull")
        elif given(lab.image) and not has_tag_or_digest(lab.image):
            problems.add(f"{lab.path}.image", "image_tag_for_pull")


def _check_token(lab: Lab, problems: Problems) -> None:
    for name, shortest in _SHORTEST.items():
        secret = getattr(lab, name)
        if secret is not None and given(secret) and len(secret) < shortest:
            problems.add(f"{lab.path}.{name}", "password_short", shortest=shortest)
    key = next((key for key in ("password", "token") if getattr(lab, key) is not None), None)
    if key is None:
        return
    if lab.token_file is not None:
        problems.add(f"{lab.path}.token_file", "token_file_given", key=key)
    if given(lab.reset) and lab.reset["rotate_token"] is True:
        problems.add(f"{lab.path}.reset.rotate_token", "rotate_token", reason=f"{key} is given")


def _check_login_options(lab: Lab, problems: Problems) -> None:
    words = {f"command[{index}]": word for index, word in enumerate(lab.command or [])} if given(lab.command) else {}
    if given(lab.environment):
        words |= {f"environment.{name}": value for name, value in lab.environment.items()}
    for key, word in words.items():
        if given(word) and (found := _LOGIN_OPTION.search(word)):
            problems.add(f"{lab.path}.{key}", "login_option", option=found[0])


def _check_mounts(lab: Lab, problems: Problems) -> None:
    mounts = [("notebooks", lab.notebooks)] if given(lab.notebooks) else []
    if given(lab.persist):
        mounts += [(f"persist.{name}", target) for name, target in lab.persist.items()]
    for index, volume in enumerate(lab.volumes if given(lab.volumes) else ()):
        mounts.append((f"volumes[{index}].target", volume.target if given(volume) else INVALID))
    check_targets(lab, mounts, problems)


def _check_build(lab: Lab, control: ControlNode, problems: Problems) -> None:
    if not given(lab.build) or not given(lab.build["context"]):
        return
    context = control.absolute(lab.build["context"])
    dockerfile = f"{context}/{lab.build['dockerfile']}"
    if not control.is_dir(context):
        problems.add(f"{lab.path}.build.context", "build_context", value=show(context))
    elif given(lab.build["dockerfile"]) and not control.is_file(dockerfile):
        problems.add(f"{lab.path}.build.dockerfile", "build_dockerfile", value=show(dockerfile))
    lab.build = {**lab.build, "context": context}
