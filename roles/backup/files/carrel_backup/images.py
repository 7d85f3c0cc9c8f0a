# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of people's servers: how a manifest records it, and how it is pulled again."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from typing import Any

from . import files
from .commands import CommandError
from .run import BackupError, Run

IDENTITY = re.compile(r"sha256:[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]{0,500}")
DIGEST = re.compile(r"[a-z0-9][A-Za-z0-9._/:-]{0,400}@sha256:[0-9a-f]{64}")
PYTHON = "python3"
PULL_SECONDS = 3600


@dataclasses.dataclass(frozen=True)
class Server:
    """What a server of the instance is made from. TARGET is the path of people's files in it.

    ROOT: its container starts as root, and becomes another user.
    """

    image: str
    id: str
    digests: list[str]
    command: list[str] | None  # None: the image's own
    python: str
    target: str
    root: bool


def recorded(run: Run) -> dict[str, Any]:
    """Server, as a manifest records it. Raises CommandError, OSError, ValueError, KeyError."""
    found = _of_hub(run) if run.settings.kind == "hub" else _of_lab(run)
    (image,) = json.loads(run.docker("image", "inspect", found.pop("from")))
    user = found.pop("user") if "user" in found else image["Config"]["User"]
    root = str(user or "0").partition(":")[0] in ("0", "root")
    return {**found, "id": image["Id"], "digests": image["RepoDigests"] or [], "root": root}


def _of_hub(run: Run) -> dict[str, Any]:
    config = json.loads(files.read(f"{run.settings.directory}/hub/config.json"))
    name = config["images"][0]["image"]
    # The image's own command may need a hub.
    return {"image": name, "from": name, "command": ["jupyter-lab"], "python": PYTHON, "target": config["home"]}


def _of_lab(run: Run) -> dict[str, Any]:
    project = f"label=com.docker.compose.project={run.settings.name}"
    listed = run.containers(project) or run.containers(project, running=False)
    if not listed:
        raise ValueError("there is no container")
    (container,) = json.loads(run.docker("container", "inspect", listed[0]["ID"]))
    notebooks = f"{run.settings.directory}/data/notebooks"
    target = next((mount["Destination"] for mount in container["Mounts"] if mount["Source"] == notebooks), None)
    if target is None:
        raise ValueError(f"its container does not have {notebooks}")
    return {
        "image": container["Config"]["Image"],
        "from": container["Image"],
        "user": container["Config"]["User"],
        "command": container["Config"]["Cmd"],
        "python": (container["Config"]["Labels"] or {}).get("carrel.python", PYTHON),
        "target": target,
    }


def read(content: Any) -> Server | None:
    """Read it from a manifest, which the account can write: nothing in it may become an option of docker.

    None for anything else, such as another version's: files are restored without it.
    """
    try:
        found = Server(**{field.name: content[field.name] for field in dataclasses.fields(Server)})
        texts = [found.image, found.id, found.python, found.target, *found.digests, *(found.command or [])]
        if (
            not all(isinstance(text, str) and "\0" not in text for text in texts)
            or not isinstance(found.root, bool)
            or not isinstance(found.digests, list)
            or not isinstance(found.command, (list, type(None)))
            or not (NAME.fullmatch(found.image) and IDENTITY.fullmatch(found.id) and found.target.startswith("/"))
            or not all(map(DIGEST.fullmatch, found.digests))
        ):
            return None
    except (KeyError, TypeError):
        return None
    return found


def of_then(run: Run, server: Server | None) -> Server:
    """Pull the snapshot's image, before a restore touches anything. Raises BackupError."""
    if server is None:
        raise BackupError("the snapshot does not name its image: restore without --image")
    now = recorded(run)["image"]
    if now != server.image:
        declared = (server.digests or [server.image])[0]
        raise BackupError(
            f"it ran from {server.image} then, and from {now} now: write image: {declared} in the inventory, run the"
            " site playbook, and restore without --image"
        )
    fetch(run, server)
    return server


def use(run: Run, server: Server) -> None:
    """Tag the snapshot's image; the site playbook then recreates containers that run another image."""
    if "@" not in server.image:
        run.step("image", f"{server.image} is {server.id[7:19]} again")
        run.docker("tag", server.id, server.image)


def fetch(run: Run, server: Server) -> bool:
    """Pull the snapshot's image if the engine lacks it; return whether it was pulled. Raises BackupError."""
    if is_there(run, server.id):
        return False
    problems = []
    for digest in server.digests:
        run.step("image", f"pull {digest}")
        try:
            run.docker("pull", "--quiet", digest, seconds=PULL_SECONDS)
        except CommandError as error:
            problems.append(str(error))
            continue
        if is_there(run, server.id):
            return True
        problems.append(f"{digest} is another image")
    reason = "; ".join(problems) or "it was built here, and no registry has it"
    raise BackupError(f"the snapshot's image, {server.image} ({server.id[7:19]}), cannot be pulled: {reason}")


def is_there(run: Run, identity: str) -> bool:
    try:
        run.docker("image", "inspect", "--format={{.Id}}", identity)
    except CommandError as error:
        if "no such image" not in str(error).lower():
            raise
        return False
    return True


def note(run: Run) -> str:
    """The file with the id of an image that only a drill needs: the image is removed even if the drill is killed."""
    return f"{run.settings.state_directory}/pulled"


def fetch_for_a_look(run: Run, server: Server) -> None:
    """Like fetch, for a drill: remove_pulled removes the image again if this pulled it."""
    if not is_there(run, server.id):
        with open(note(run), "w", encoding="ascii") as file:
            file.write(server.id)
    fetch(run, server)


def remove_pulled(run: Run) -> None:
    """Remove an image that a drill pulled, unless somebody has tagged it or uses it meanwhile."""
    try:
        identity = files.read(note(run))
    except FileNotFoundError:
        return
    try:
        if IDENTITY.fullmatch(identity) and is_there(run, identity):
            names = json.loads(run.docker("image", "inspect", "--format={{json .RepoTags}}", identity))
            if not names:
                run.docker("image", "rm", identity)
    except (CommandError, ValueError) as error:
        run.step("image", f"the image {identity[7:19]}, pulled for a drill, was not removed: {error}")
    os.unlink(note(run))
