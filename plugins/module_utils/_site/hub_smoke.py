# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A compose project with a throwaway server for each image of a hub's users, in which the smoke notebooks run.

The server has the command, the environment and the limits of people's servers, and their folders, which are empty. It
has no network, and neither people's files nor the hub's secrets: trial.py answers in the hub's place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import json_text
from ansible_collections.carrel.jupyter.plugins.module_utils._images.names import familiar
from ansible_collections.carrel.jupyter.plugins.module_utils._shared import limits
from ansible_collections.carrel.jupyter.plugins.module_utils._site import hub
from ansible_collections.carrel.jupyter.plugins.module_utils._site.compose import bind, devices, escaped, guards

AT = "/opt/carrel-smoke"  # the folder in the container
LABEL = "carrel.smoke"
RECORD = "/var/lib/carrel/{}/smoked.json"
RUNS = "Trial | Run the notebooks"  # the task
KEPT = 200  # ids in the record; with fewer than a hub has images, each run would try some again
CLEARED = 50  # files of notebooks that are not declared any more; everybody on the host could read them
_USER = "carrel-smoke"
_PREFIX = f"/user/{_USER}/"
_HUB = "http://127.0.0.1:8081/hub/api"
_SCOPES = json.dumps([f"access:servers!server={_USER}/"])
_ENVIRONMENT = {
    "JUPYTERHUB_ACTIVITY_URL": f"{_HUB}/users/{_USER}/activity",
    # Nobody else reaches the server, so this is no secret.
    "JUPYTERHUB_API_TOKEN": _USER,
    "JUPYTERHUB_API_URL": _HUB,
    "JUPYTERHUB_BASE_URL": "/",
    "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{_USER}",
    "JUPYTERHUB_HOST": "",
    "JUPYTERHUB_OAUTH_ACCESS_SCOPES": _SCOPES,
    "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{_PREFIX}oauth_callback",
    "JUPYTERHUB_OAUTH_SCOPES": _SCOPES,
    "JUPYTERHUB_SERVER_NAME": "",
    "JUPYTERHUB_SERVICE_PREFIX": _PREFIX,
    "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:8888{_PREFIX}",
    "JUPYTERHUB_USER": _USER,
}


def directory(instance: Mapping[str, Any]) -> str:
    return f"{instance['directory']}/smoke"


def tried(instance: Mapping[str, Any]) -> dict[int, list[Mapping[str, Any]]]:
    """Return the notebooks by the number of the image in which they run."""
    found = {
        number: [notebook for notebook in instance["smoke"] if number in notebook["images"]]
        for number in range(len(instance["images"]))
    }
    return {number: notebooks for number, notebooks in found.items() if notebooks}


def files(
    instance: Mapping[str, Any],
    engine: Mapping[str, Any],
    decided: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    programs: Mapping[str, str],
) -> dict[str, Any]:
    """Return what install_files writes. PROGRAMS are the files that run in the container, by name."""
    root, notebooks = directory(instance), tried(instance)
    compose = f"{root}/compose.yaml"
    known = [*programs, hub.SERVER_SETTINGS[0], *(f"{service(number)}.json" for number in range(CLEARED))]
    if not notebooks:
        absent = [compose, *(f"{root}/{name}" for name in known)]
        return {"directories": [], "files": [], "secret_contents": {}, "absent": absent}
    services = {
        service(number): _server(instance, engine, decided, images[number], instance["images"][number]["image"])
        for number in notebooks
    }
    # No instance has this name, because names have no underscore.
    project = escaped({"name": f"{instance['name']}_smoke", "services": services})
    texts = {
        **programs,
        **{f"{service(number)}.json": _wanted(instance, each) for number, each in notebooks.items()},
        **({hub.SERVER_SETTINGS[0]: json_text(instance["server_settings"])} if instance["server_settings"] else {}),
    }
    return {
        "directories": [{"path": instance["directory"], "mode": "0711"}, {"path": root, "mode": "0755"}],
        "files": [
            *({"path": f"{root}/{name}", "content": text} for name, text in texts.items()),
            {"path": compose, "group": engine["gid"], "mode": "0640"},
        ],
        "secret_contents": {compose: json_text(project)},
        "absent": [f"{root}/{name}" for name in known if name not in texts],
    }


def service(number: int) -> str:
    return f"image-{number + 1}"


def due(
    instance: Mapping[str, Any], images: Sequence[Mapping[str, Any]], passed: Sequence[str], before: Sequence[Any]
) -> list[dict[str, Any]]:
    """Return what must be tried: images that have not PASSED. BEFORE are the engine's answers before the pull."""
    old = _tags(before)
    found = []
    for number in tried(instance):
        image, tag = images[number], instance["images"][number]["image"]
        new, known = image["image_id"], old.get(familiar(tag))
        if new not in passed:
            about = {"service": service(number), "tag": tag, "id": new, "python": image["python"]}
            found.append({**about, "old": None if known == new else known})
    return found


def read_noted(text: str) -> dict[str, Any]:
    """Read what a run that was killed has noted, in the form that `before` returns, and whether it is damaged."""
    try:
        images = [
            {"Id": str(image["Id"]), "RepoTags": [str(tag) for tag in image["RepoTags"]]} for image in json.loads(text)
        ]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {"images": [], "damaged": True}
    return {"images": images, "damaged": False}


def before(
    instance: Mapping[str, Any],
    now: Sequence[Any],
    noted: Sequence[Any],
    there: Sequence[Any],
    passed: Sequence[str] = (),
    healthy: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return what the tags that a run may pull meant before it, like the engine's answers, which NOW are.

    A run that was killed has NOTED it, and may have left an untried image under a tag. Of these THERE still are. Since
    then another run or a reset may have tried what a tag means now: it has PASSED, or is HEALTHY.
    """
    ids, good, found = {image["Id"] for image in there}, {*passed, *healthy}, _tags(now)
    for name, image_id in _tags(noted).items():
        if image_id in ids and found.get(name) not in good:
            found[name] = image_id
    return [{"Id": found[name], "RepoTags": [name]} for name in _pulled(instance).values() if name in found]


def untried(
    instance: Mapping[str, Any],
    passed: Sequence[str],
    before: Sequence[Any],
    after: Sequence[Any],
    healthy: Sequence[str] = (),
    refused: str | None = None,
) -> list[dict[str, str]]:
    """Return the tags that a failed run must let mean their old images again.

    BEFORE and AFTER are the engine's answers before the pull and now: the run may not have inspected what it pulled.
    Meanwhile a reset may have tried an image and given it to people: then it is HEALTHY. This run has REFUSED another.
    """
    passed = [*passed, *(image_id for image_id in healthy if image_id != refused)]
    old, new = _tags(before), _tags(after)
    return [
        {"tag": tag, "old": old[name]}
        for tag, name in _pulled(instance).items()
        if name in old and new.get(name) not in (old[name], *passed)
    ]


def with_passed(passed: Sequence[str], image_id: str) -> list[str]:
    """Return the ids of images that have PASSED, with another one. The oldest are dropped."""
    return [*(each for each in passed if each != image_id), image_id][-KEPT:]


def refusal(trial: Mapping[str, Any], task: str, why: str) -> str:
    """Say why an image, one of those that are due, is refused. TASK is what failed in trial.yml."""
    image = f"the image {trial['tag']}"
    what = (
        f"a smoke notebook failed in {image}"
        if task == RUNS
        else f"{image} could not be tried with the smoke notebooks"
    )
    if trial["old"] is None:
        return f"{what}, and the tag still means it, because this run has replaced no other image: {why}"
    return f"{what}, and the tag means the old image again: {why}"


def _pulled(instance: Mapping[str, Any]) -> dict[str, str]:
    """Return what Docker calls the images that a run pulls, by their tags."""
    tags = [*(image["image"] for image in instance["images"]), instance["database"]["image"]]
    return {tag: familiar(tag) for tag in tags if tag}


def _tags(images: Sequence[Any]) -> dict[str, str]:
    """Return the ids by what Docker calls the images."""
    return {familiar(tag): image["Id"] for image in images for tag in image.get("RepoTags") or []}


def _wanted(instance: Mapping[str, Any], notebooks: Sequence[Mapping[str, Any]]) -> str:
    kept = [{key: each[key] for key in ("name", "kernel", "cells")} for each in notebooks]
    start = instance["spawn_timeout_seconds"] + instance["http_timeout_seconds"]
    return json_text({"seconds": instance["smoke_timeout_seconds"], "start_seconds": start, "notebooks": kept})


def _server(
    instance: Mapping[str, Any],
    engine: Mapping[str, Any],
    decided: Mapping[str, Any],
    image: Mapping[str, Any],
    name: str,
) -> dict[str, Any]:
    root = directory(instance)
    source, target = hub.SERVER_SETTINGS
    settings = [bind(f"{root}/{source}", target, True)] if instance["server_settings"] else []
    owner = f"uid={decided['uid']},gid={decided['gid']},mode=0700,exec"
    return {
        **guards(instance, image["uid"] == 0),
        **limits.in_compose(instance["limits"], engine["controllers"]),
        **devices(instance["devices"]),
        "image": name,
        "pull_policy": "never",
        "command": instance["command"],
        "network_mode": "none",
        "restart": "no",
        "stop_grace_period": "1s",
        "healthcheck": {"disable": True},
        "labels": {LABEL: instance["name"], "carrel.python": image["python"]},
        "environment": {
            **hub.environment(instance), **_ENVIRONMENT, "JUPYTERHUB_ROOT_DIR": instance["home"],
        },
        "tmpfs": [f"{path}:{owner}" for path in (instance["home"], *instance["persist"].values())],
        "volumes": [bind(root, AT, True), *settings],
    }  # fmt: skip
