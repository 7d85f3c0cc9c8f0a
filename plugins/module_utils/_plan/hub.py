# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check how the keys of one hub depend on each other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._people.group_mounts import SHOWN, Plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_authenticator import Authenticator
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import Hub
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_people import People
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.instance import (
    ControlNode,
    check_targets,
    read_file,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.reset import check_reset
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, given, known
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.url import Url, is_ipv4
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import has_tag_or_digest, inside

# JupyterLab keeps users' settings here. If the folder is in the home, it is kept already.
_SETTINGS = "/home/jovyan/.jupyter/lab"


def check_hub(hub: Hub, base_dir: str, control: ControlNode, problems: Problems) -> None:
    """Check a hub, and fill in what follows from other keys: images, persist, blocked_users, people, teams."""
    _check_images(hub, problems)
    _check_reset(hub, control, problems)
    _check_persist(hub, problems)
    _check_backend(hub, problems)
    People(hub, control, problems)
    _warn_of_disk(hub)
    _check_mounts(hub, base_dir, problems)
    _check_own(hub, control, problems)
    _check_domains(hub, problems)


def _check_images(hub: Hub, problems: Problems) -> None:
    if hub.image is not None and hub.images is not None:
        problems.add(f"{hub.path}.images", "image_and_images")
    elif hub.image is None and hub.images is None:
        problems.add(f"{hub.path}.image", "missing", wanted="an image reference, or images: [{title, image}, ...]")
    if given(hub.image) and not has_tag_or_digest(hub.image):
        problems.add(f"{hub.path}.image", "image_tag")
    for index, item in enumerate(hub.images if given(hub.images) else []):
        if given(item) and given(item["image"]) and not has_tag_or_digest(item["image"]):
            problems.add(f"{hub.path}.images[{index}].image", "image_tag")
    if given(hub.image) and hub.images is None:
        hub.images = [{"title": "Default", "image": hub.image}]


def _check_reset(hub: Hub, control: ControlNode, problems: Problems) -> None:
    path = f"{hub.path}.reset"
    images = [item["image"] for item in known(hub.images)]
    hub.warnings += check_reset(hub.reset, path, images, control.timezones(), problems)
    if given(hub.reset) and hub.reset["rotate_token"] is True:
        problems.add(f"{path}.rotate_token", "rotate_token", reason="users of a hub log in without one")


def _check_persist(hub: Hub, problems: Problems) -> None:
    if not given(hub.home):
        return
    if hub.persist is None:
        hub.persist = {} if inside(_SETTINGS, hub.home) else {"settings": _SETTINGS}
    if not given(hub.persist):
        return
    if "home" in hub.persist:
        problems.add(f"{hub.path}.persist", "persist_name", value="home", taken="home")
    for name, target in hub.persist.items():
        if inside(target, hub.home):
            problems.add(f"{hub.path}.persist.{name}", "persist_in_home", value=show(target), home=show(hub.home))
        elif inside(hub.home, target):
            problems.add(f"{hub.path}.persist.{name}", "persist_over_home", value=show(target), home=show(hub.home))
    check_targets(hub, [(f"persist.{name}", target) for name, target in hub.persist.items()], problems)


def _check_backend(hub: Hub, problems: Problems) -> None:
    if hub.backend == "volumes" and given(hub.users_view) and hub.users_view != "none":
        problems.add(f"{hub.path}.users_view", "volumes_view")
    # Guests are not listed: their volumes would be archived while they work, and deleted later.
    if hub.backend == "volumes" and hub.prune == "archive" and given(hub.authenticator) and hub.authenticator.guests:
        problems.add(f"{hub.path}.prune", "volumes_prune", key=hub.authenticator.guests)


def _warn_of_disk(hub: Hub) -> None:
    limits = [hub.limits["disk"] if given(hub.limits) else None, *(user["disk"] for user in hub.people)]
    if hub.backend == "volumes" and any(map(given, limits)):
        hub.warnings.append(
            "limits on disk do not hold with backend: volumes; write engine_disk, which limits all users together"
        )


def _check_mounts(hub: Hub, base_dir: str, problems: Problems) -> None:
    """Make the same check as the module group_mounts makes on the host."""
    if not given(hub.name) or not given(hub.home):
        return
    directory = f"{base_dir}/{hub.name}"
    plan = Plan(
        {
            "path": f"{directory}/data",
            "file": f"{directory}/hub/mounts.json",
            "home": hub.home,
            "targets": known(hub.targets),
            "users": [{"name": user["name"], "groups": [], "admin": user["admin"] is True} for user in hub.people],
            "user_directories": [
                {"name": name, "target": target}
                for name, target in {"home": ".", **(hub.persist if given(hub.persist) else {})}.items()
            ],
            "groups": [_sound(team) for team in hub.teams if hub.groups[team["name"]].good],
            "shared": hub.shared is True,
            "colab": hub.colab is True,
            "users_view": hub.users_view if given(hub.users_view) else "none",
            "allow_empty": True,
        }
    )
    for problem in plan.problems[:SHOWN]:
        key, text = _place(problem)
        problems.add(f"{hub.path}.{key}", "mounts", problem=text)
    if len(plan.problems) > SHOWN:
        problems.add(f"{hub.path}.groups", "mounts", problem=f"and {len(plan.problems) - SHOWN} more of this kind")


def _check_own(hub: Hub, control: ControlNode, problems: Problems) -> None:
    for index, file in enumerate(hub.extra_config if given(hub.extra_config) else []):
        if not given(file):
            continue
        text = read_file(f"{hub.path}.extra_config", file, "extra_config_file", control, problems)
        if text is not None:
            hub.extra_files.append({"name": file, "text": text})
        if file in hub.extra_config[:index]:
            problems.add(f"{hub.path}.extra_config[{index}]", "file_twice", value=show(file))
    services = known(hub.services)
    for index, service in enumerate(services):
        path = f"{hub.path}.services[{index}]"
        if service["name"] in [other["name"] for other in services[:index] if given(other["name"])]:
            problems.add(f"{path}.name", "service_twice", value=show(service["name"]))
        access = service["access"] if isinstance(service["access"], list) else []
        for group in known(access):
            if given(hub.groups) and group not in hub.groups:
                problems.add(f"{path}.access", "service_group", value=show(group), hint=_hint(group, hub.groups))
    groups = hub.groups if given(hub.groups) else {}
    for name, group in groups.items():
        if given(hub.authenticator):
            path = f"{hub.path}.groups.{name}.provider_groups"
            _check_provider_groups(hub.authenticator, known(group.provider_groups), path, problems)


def _check_provider_groups(authenticator: Authenticator, names: list[str], path: str, problems: Problems) -> None:
    if names and authenticator.type in ("native", "dummy"):
        problems.add(path, "provider_groups", type=authenticator.type)
    owners = [one.public["name"] for one in authenticator.each if one.type != "native"]
    for name in names if authenticator.each else []:
        if name.partition(":")[0] not in owners or not name.partition(":")[2]:
            problems.add(path, "provider_groups_several", value=show(name), names=", ".join(owners))


def _check_domains(hub: Hub, problems: Problems) -> None:
    url = hub.url
    if hub.sharing is True and hub.user_domains is False:
        problems.add(f"{hub.path}.sharing", "sharing_domains")
    for group in hub.groups.values() if given(hub.groups) and hub.user_domains is False else ():
        if group.server is True:
            problems.add(f"{group.path}.server", "group_server_domains")
    if hub.user_domains is not True or not isinstance(url, Url):
        return
    if given(url.path) and url.path != "/":
        problems.add(f"{hub.path}.url", "domains_path")
    if given(url.host) and is_ipv4(url.host):
        problems.add(f"{hub.path}.user_domains", "domains_address", host=url.host)
    if url.scheme == "http":
        problems.add(f"{hub.path}.user_domains", "domains_http")


def _hint(word: str, words: Iterable[str]) -> str:
    near = nearest(word, words)
    return f"; did you mean {show(near)}?" if near else ""


def _sound(team: dict[str, Any]) -> dict[str, Any]:
    """Return a group without the mounts whose problems are reported already."""
    mounts = team["mounts"]
    if mounts is not None:
        mounts = [mount for mount in known(mounts) if INVALID not in mount.values()]
    return {**team, "mounts": mounts}


def _place(problem: str) -> tuple[str, str]:
    """Split a problem of group_mounts into the key and the text."""
    group = re.match(r"the group '([^']*)': ", problem)
    if group:
        return f"groups.{group[1]}.mounts", problem[group.end() :]
    key, colon, rest = problem.partition(": ")
    names = {"user_directories": "persist", "targets": "targets", "home": "home"}
    return (names[key], rest) if colon and key in names else ("groups", problem)
