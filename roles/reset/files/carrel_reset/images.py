# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: pull them by their tags, go back to old ones if they fail, and remove them after a long time without use."""

from __future__ import annotations

import datetime
import json
import os
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import files, names
from . import settings as settings_files
from .engine import EngineError

if TYPE_CHECKING:
    from .run import Run

RETRY_AFTER_SECONDS = (5, 20)
KNOWN = 30  # images of a tag that are remembered if none are removed
# Errors that another try does not fix; all others may be the network's.
_FINAL = re.compile(
    r"manifest (for .* )?(unknown|not found)|not found: |denied|unauthorized|no space left|disk quota|invalid reference"
    r"|no matching manifest|did not end within",
    re.IGNORECASE,
)
_BUILT = re.compile(r":[0-9a-f]{12}$")  # of _images/build.py: tag


def pull(run: Run, deployed: list[str]) -> None:
    """Pull each deployed image by its tag. If that fails, the reset uses the image that is there.

    Note in run.pulled which tags mean new images now.
    """
    end = time.monotonic() + run.settings.pull_timeout_seconds
    for tag in run.settings.images:
        if tag not in deployed:
            run.step("pull", f"{tag} is declared, but not deployed yet, and not pulled: run the site playbook")
            continue
        run.step("pull", f"pull {tag}")
        try:
            before = run.engine.image(tag)
            if before is not None:
                run.state.pulls({**run.state.content["pulled"], tag: before.id})
            _pull(run, tag, end)
            after = run.engine.image(tag)
        except EngineError as error:
            run.warn(f"{tag} was not pulled; the reset uses the image that is there: {error}")
            continue
        if after is None or (before is not None and after.id == before.id):
            run.step("pull", f"{tag} is up to date: {after.digest if after else None}")
        else:
            run.step("pull", f"{tag} is new: {after.digest} ({after.id}), before {before.digest if before else None}")
            if before is not None:
                run.pulled[tag] = (before.id, after.id)


def _pull(run: Run, tag: str, end: float) -> None:
    for wait in (*RETRY_AFTER_SECONDS, None):
        try:
            run.engine.docker("pull", "--quiet", tag, timeout=max(int(end - time.monotonic()), 1))
            return
        except EngineError as error:
            if wait is None or _FINAL.search(str(error)) or time.monotonic() + wait >= end:
                raise
            run.step("pull", f"retry in {wait} s: {error}")
        time.sleep(wait)


def restore(run: Run, ids: dict[str, str]) -> None:
    """Let the tags mean these images ({tag: id}) again."""
    for tag, image_id in ids.items():
        now = run.engine.image(tag)
        if now is None or now.id != image_id:
            run.engine.docker("tag", image_id, tag)


def take_back(run: Run, tags: Iterable[str]) -> dict[str, str]:
    """Let those of the TAGS that this reset has pulled mean the images from before; return these ({tag: id}).

    Tags belong to the engine, but a lock to one instance: meanwhile another instance may have tried what a tag means,
    and given it to people. Such tags stay. Failures are warnings.
    """
    found: dict[str, str] = {}
    try:
        for tag in tags:
            if tag not in run.pulled:
                continue
            old, new = run.pulled[tag]
            now = run.engine.image(tag)
            if now is not None and now.id == old:
                continue
            if now is None or now.id != new:
                run.warn(f"{tag} stays as it is: it has got another image since this reset pulled {new}")
            elif names := _others(run, new):
                run.warn(
                    f"{tag} keeps the image that this reset pulled, but did not try: {', '.join(names)} may use it"
                )
            else:
                restore(run, {tag: old})
                found[tag] = old
    except EngineError as error:
        run.warn(f"the tags of the images that were pulled could not be changed back: {error}")
    return found


def recover(run: Run, running: dict[str, str]) -> None:
    """Go back from what a reset had pulled when it was killed, unless people have it (RUNNING) or it is known to work.

    Its new image may not have been tried, and this reset may be put off before it tries it.
    """
    for tag, old in run.state.content["pulled"].items():
        now = run.engine.image(tag)
        if now is not None and now.id not in (running.get(tag), *known_good(run, tag, None)):
            run.pulled[tag] = (old, now.id)
    for tag, old in take_back(run, list(run.pulled)).items():
        run.warn(f"{tag} means {old} again: the reset that was interrupted had pulled another image, and not tried it")
    run.pulled.clear()
    run.state.pulls({})


def _others(run: Run, image_id: str) -> list[str]:
    """The other instances of the account that have a tag which means this image."""
    return [
        name
        for name, tags in _tags(run).items()
        if name != run.settings.name and any(found.id == image_id for found in map(run.engine.image, tags) if found)
    ]


def known_good(run: Run, tag: str, but: str | None) -> list[str]:
    """The ids of existing images of this tag that were healthy, newest first, without `but`."""
    ids = [entry["id"] for entry in run.state.content["healthy"] if entry["image"] == tag and entry["id"] != but]
    return [image_id for image_id in ids if run.engine.image(image_id)]


def prune(run: Run) -> None:
    """Remove images that the instance has not used for prune_days, and that nothing else refers to."""
    if not run.settings.prune_days:
        run.state.keep_newest(KNOWN)
        return
    run.step("prune", f"remove images that nobody has used for {run.settings.prune_days} days")
    healthy = run.state.content["healthy"]
    try:
        used = {container.image_id for container in run.engine.containers()} | _needed(run)
        for image_id in expired(healthy, run.settings.prune_days, datetime.datetime.now().astimezone()):
            own = {entry["image"] for entry in healthy if entry["id"] == image_id}
            if image_id not in used and _remove(run, image_id, own):
                run.state.forget(image_id)
    except EngineError as error:
        run.warn(f"old images were not removed: {error}")


def _remove(run: Run, image_id: str, own: set[str]) -> bool:
    """Whether the image is gone. An image with another tag from somebody else stays."""
    if run.engine.image(image_id) is None:
        return True
    (raw,) = json.loads(run.engine.docker("image", "inspect", image_id))
    tags = raw["RepoTags"] or []
    if foreign(tags, own):
        return False
    run.step("prune", f"remove {image_id}")
    run.engine.docker("image", "rm", *([*tags, *(raw["RepoDigests"] or [])] or [image_id]))
    return True


def foreign(tags: Iterable[str], own: Iterable[str]) -> list[str]:
    """The tags from somebody else: neither OWN ones, nor those under which image_build has pushed them."""
    ours = {names.familiar(tag) for tag in own}
    pushed = tuple(f"/{tag}" for tag in ours if _BUILT.search(tag))
    return [tag for tag in tags if names.familiar(tag) not in ours and not tag.endswith(pushed)]


def expired(healthy: list[dict[str, Any]], days: int, now: datetime.datetime) -> list[str]:
    """The ids that no entry has used for this many days."""
    last: dict[str, datetime.datetime] = {}
    for entry in healthy:
        until = datetime.datetime.fromisoformat(entry["until"])
        last[entry["id"]] = max(until, last.get(entry["id"], until))
    return [image_id for image_id, until in last.items() if now - until > datetime.timedelta(days=days)]


def _needed(run: Run) -> set[str]:
    """The ids of the images that the tags of this account's instances mean."""
    tags = set(run.state.content["images"]).union(*_tags(run).values())
    found = (run.engine.image(tag) for tag in tags)
    return {image.id for image in found if image}


def _tags(run: Run) -> dict[str, list[str]]:
    """The tags of each instance of this account."""
    found = {}
    for name in settings_files.names():
        try:
            other = json.loads(files.read(os.path.join(settings_files.FOLDER, f"{name}.json")))
            if other["account"] == run.settings.account:
                found[name] = [str(tag) for tag in other["images"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EngineError(f"the settings of {name} cannot be read, so its images are not known: {error}") from error
    return found
