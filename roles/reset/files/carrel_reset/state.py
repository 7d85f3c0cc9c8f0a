# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""state.json: what the last reset did, for administrators and for the next reset."""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import time
from typing import Any

from . import files, printable
from .jobs import now

VERSION = 1
HISTORY = 30
BLOCK = 4096
LEAST_BLOCKS = 4  # so that a long Docker message fits in an existing file
MESSAGE_ON_FULL_DISK = 500
FULL = (errno.ENOSPC, errno.EDQUOT)

Images = dict[str, dict[str, "str | None"]]  # TAG: {"id", "digest"}


class State:
    """The file's content, written at every change.

    If the state cannot be written, the instance is reset all the same: `trouble` says why, once.
    """

    def __init__(self, path: str, name: str, kind: str) -> None:
        self.path = path
        self.trouble: str | None = None
        self._began = time.monotonic()
        self.content: dict[str, Any] = {
            "version": VERSION, "name": name, "kind": kind, "result": None, "step": None, "message": None,
            "exit_code": None, "started": None, "ended": None, "seconds": None, "scheduled_for": None, "server": None,
            "images": {}, "warnings": [], "commands": {}, "smoke": None, "pulled": {}, "healthy": [], "history": [],
        }  # fmt: skip
        self.interrupted: str | None = None  # the step at which the last reset was interrupted
        self.last_scheduled: str | None = None
        self._load()

    def _load(self) -> None:
        try:
            before = json.loads(files.read(self.path))
            kept = {key: before[key] for key in ("server", "images", "healthy", "history")}
            kept["pulled"] = {str(tag): str(image_id) for tag, image_id in before.get("pulled", {}).items()}
            if before["version"] != VERSION or not isinstance(kept["healthy"] + kept["history"], list):
                raise ValueError(f"version {before['version']}")
            if not isinstance(kept["images"], dict):
                raise TypeError(f"its images are {kept['images']!r}")
            for entry in kept["healthy"]:
                _check(entry)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.trouble = f"{self.path} could not be read, and is written anew: {error}"
            return
        self.content.update(kept)
        self.last_scheduled = before.get("scheduled_for")
        if before.get("result") == "running":
            self.interrupted = str(before.get("step"))
            self._remember(
                before.get("started"), None, "interrupted", f"interrupted at the step {self.interrupted}", None
            )

    def begin(self, scheduled_for: str | None) -> None:
        self._began = time.monotonic()
        self.content.update(result="running", step="begin", message="", started=now())
        # A reset by hand keeps the time of the last scheduled one, which a clock that is set back would cause again.
        self.content["scheduled_for"] = scheduled_for or self.last_scheduled
        self.write()

    def step(self, step: str, message: str) -> None:
        """Record that a step begins."""
        self.content.update(step=step, message=printable.text(message))
        self.write()

    def warn(self, text: str) -> None:
        self.content["warnings"].append(printable.text(text))
        self.write()

    def ran(self, when: str, how: str) -> None:
        """Record how the administrator's command before or after the reset ended."""
        self.content["commands"][when] = printable.text(how)
        self.write()

    def smoked(self, how: str) -> None:
        """How the smoke notebooks ended."""
        self.content["smoke"] = printable.text(how)
        self.write()

    def finish(self, result: str, message: str, exit_code: int) -> None:
        seconds, message = round(time.monotonic() - self._began, 1), printable.text(message)
        self.content.update(result=result, message=message, exit_code=exit_code, ended=now(), seconds=seconds)
        self._remember(self.content["started"], self.content["ended"], result, message, seconds)
        self.write()

    def runs(self, server: int | None, images: Images) -> None:
        """Record that these images are healthy now; the newest come first in `healthy`."""
        self.content.update(server=server, images=images)
        for tag, image in images.items():
            same = [entry for entry in self.content["healthy"] if (entry["image"], entry["id"]) == (tag, image["id"])]
            entry = same[0] if same else {"image": tag, "id": image["id"], "since": now()}
            entry.update(digest=image["digest"], until=now())
            others = [other for other in self.content["healthy"] if other is not entry]
            self.content["healthy"] = [entry, *others]
        self.write()

    def pulls(self, tags: dict[str, str]) -> None:
        """Record what the tags of untried images meant before the pull, for the next reset if this one is killed."""
        self.content["pulled"] = tags
        self.write()

    def keep_newest(self, most: int) -> None:
        """Forget the oldest images of each tag, if there are more."""
        kept: list[dict[str, Any]] = []
        for entry in self.content["healthy"]:
            if [other["image"] for other in kept].count(entry["image"]) < most:
                kept.append(entry)
        self.content["healthy"] = kept
        self.write()

    def forget(self, image_id: str) -> None:
        """Record that an image is gone."""
        self.content["healthy"] = [entry for entry in self.content["healthy"] if entry["id"] != image_id]
        self.write()

    def _remember(
        self, started: str | None, ended: str | None, result: str, message: str, seconds: float | None
    ) -> None:
        entry = {"started": started, "ended": ended, "result": result, "message": message, "seconds": seconds}
        self.content["history"] = [entry, *self.content["history"]][:HISTORY]

    def write(self) -> None:
        try:
            try:
                self._replace(padded(self.content))
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._overwrite()
        except OSError as error:
            self.trouble = f"{self.path} could not be written: {error}"

    def _replace(self, text: bytes) -> None:
        fresh = f"{self.path}.new"
        try:
            descriptor = files.open_to_write(fresh, os.O_CREAT | os.O_TRUNC)
            try:
                write_all(descriptor, text)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(fresh, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise
        sync_directory(os.path.dirname(self.path))

    def _overwrite(self) -> None:
        """Overwrite the file within its blocks: the text is padded, or its oldest entries are left out."""
        descriptor = files.open_to_write(self.path)
        try:
            size = os.fstat(descriptor).st_size
            content = dict(self.content)
            while len(text := padded(content, size)) > size:
                shortened = next((key for key in ("history", "warnings", "healthy") if len(content[key]) > 1), None)
                if shortened is not None:
                    content[shortened] = content[shortened][:-1]
                elif content["warnings"] or len(content["message"]) > MESSAGE_ON_FULL_DISK:
                    content.update(warnings=[], message=content["message"][:MESSAGE_ON_FULL_DISK])
                else:
                    raise OSError(errno.ENOSPC, f"the state does not fit in {size} bytes")
            write_all(descriptor, text)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check(healthy: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError for a damaged entry."""
    if datetime.datetime.fromisoformat(healthy["until"]).tzinfo is None:
        raise ValueError(f"{healthy['until']} has no zone")
    if not isinstance(healthy["image"], str) or not isinstance(healthy["id"], str):
        raise TypeError(f"an image is called {healthy['image']!r}, its id {healthy['id']!r}")


def padded(content: dict[str, Any], size: int = 0) -> bytes:
    """The file's text, filled with spaces to whole blocks, or to `size` if that is more."""
    text = json.dumps(content, indent=1, ensure_ascii=False).encode("utf-8", "replace")
    blocks = max(-(-(len(text) + 1) // BLOCK), LEAST_BLOCKS)
    return text.ljust(max(blocks * BLOCK, size) - 1) + b"\n"


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
