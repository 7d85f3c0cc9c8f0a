# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new token with each reset, for labs in which people work together.

The server's configuration belongs to the container's user, so a short-lived container writes it. A running server
keeps the token with which it started.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable

from . import files, web
from .engine import EngineError
from .run import Run
from .state import write_all

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rotate.py")

AnyImage = Callable[[], "tuple[str, str]"]  # an image of the instance, and the Python in it


class Rotation:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.path = str(run.settings.token_file)
        self._image: AnyImage | None = None
        self._before: dict[str, str | None] | None = None
        self._published = False
        self._token = ""

    def recover(self, image: AnyImage, status_url: str) -> None:
        """After a kill, configuration and token_file may differ: what the server at `status_url` accepts is right."""
        self._image = image
        known, configured = self._read(), str(self._configure({})["token"])
        if configured == known:
            return
        if accepts(status_url, configured):
            self._write(configured)
        else:
            self._configure({"token": known})

    def begin(self, image: AnyImage) -> None:
        """Give the next server a new token. This also ends all log-ins, so only people who know the token get in."""
        self._image = image
        os.close(files.open_to_write(self.path))  # before anything changes
        self._token = secrets.token_hex(24)
        self._before = self._configure({"token": self._token, "cookie_secret": secrets.token_hex(32) + "\n"})
        self._before["token"] = self._read()

    def publish(self) -> None:
        """Apache asks the new server now: publish its token."""
        self._published = True
        self._write(self._token)
        self.run.step("switch", f"the new token is in {self.path}")

    def back(self) -> None:
        """The old server stays: put its token back. Calling this again does nothing."""
        if self._before is None:
            return
        if self._published:
            self._write(str(self._before["token"]))
        self._configure(self._before)
        self._before = None

    def _configure(self, values: dict[str, str | None]) -> dict[str, str | None]:
        """Write these values, and return the old ones."""
        assert self._image is not None  # noqa: S101 - for the type checker
        image, python = self._image()
        server = os.path.join(self.run.settings.directory, "server")
        output = self.run.engine.docker(
            "run", "--rm", "--interactive", "--pull", "never", "--network", "none", "--user", "0:0",
            "--mount", f"type=bind,source={server},target=/carrel/server",
            "--mount", f"type=bind,source={SCRIPT},target=/carrel/rotate.py,readonly",
            "--entrypoint", python, image, "-I", "/carrel/rotate.py", "/carrel/server",
            text=json.dumps(values),
        )  # fmt: skip
        try:
            before: dict[str, str | None] = json.loads(output)
        except (ValueError, RecursionError) as error:
            raise EngineError("the server's configuration cannot be read") from error
        return before

    def _read(self) -> str:
        return files.read(self.path).strip()

    def _write(self, token: str) -> None:
        """Write in place: its directory belongs to root."""
        data = f"{token}\n".encode()
        descriptor = files.open_to_write(self.path)
        try:
            write_all(descriptor, data)
            os.ftruncate(descriptor, len(data))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def accepts(url: str, token: str) -> bool:
    try:
        status, _unused = web.get(url, headers={"Authorization": f"token {token}"})
    except OSError:
        return False
    return status == 200
