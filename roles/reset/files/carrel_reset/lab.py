# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs: a second server starts beside the first, Apache switches to it, the first is stopped."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shlex
import time
from collections.abc import Callable
from typing import Any

from . import files, images, web
from .engine import Container, EngineError
from .rotation import Rotation
from .run import CannotTell, ResetError, Run
from .state import sync_directory

FAILURES = (ResetError, EngineError, OSError)
APACHE_GOES_OVER_WITHIN_SECONDS = 10
STOP_SECONDS = 60
SMOKE_SPARE_SECONDS = 120  # for requests besides the notebooks, which end smoke.py themselves
LONGEST_SAID = 1000
LOG_LINES = 20
LETS_IN_ANYBODY = "lets in anybody who does not log in"
# The programs in a shell are not known, but their output counts as activity, as typing does
# (jupyter_server_terminals, TerminalManager.pre_pty_read_hook). One that was silent for longer counts as forgotten.
TERMINAL_COUNTS_FOR = datetime.timedelta(hours=1)
LOGIN_NOTICE = 'id="login-notice"'


class Lab:
    """See Kind in run.py. Servers are numbered 1 and 2, as their services lab-1 and lab-2."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.settings = run.settings
        self.engine = run.engine
        self.second = os.path.join(run.settings.state_directory, "second")
        self.rotation = Rotation(run) if run.settings.rotate_token else None

    def server(self) -> int:
        return 2 if os.path.isfile(self.second) else 1  # like RewriteCond's -f

    def container(self) -> str | None:
        found = self._container(self.server())
        return found.id if found and found.running else None

    def answers(self) -> bool:
        with contextlib.suppress(EngineError, OSError):
            return self._serves(self.server())
        return False

    def running(self) -> dict[str, str]:
        container = self._container(self.server())
        return {container.image: container.image_id} if container and container.running else {}

    def images(self) -> list[str]:
        return [tag for tag in self.settings.images if tag == self._definition()["image"]]

    def recover(self) -> None:
        asked, other = self.server(), 3 - self.server()
        self._wait_while_starting(asked)
        self._remove_open()
        if not self._serves(asked) and self._serves(other):
            self.run.warn(f"server {asked} does not answer, but server {other} does: Apache switches to it")
            self._let_apache_ask(other)
            asked, other = other, asked
        self._remove(other)
        if self.rotation:
            self.rotation.recover(self._any_image, self._url(asked, "api/status"))
        if not self._serves(asked):
            self.run.warn(f"server {asked} does not answer; it is restarted")
            try:
                self._start(asked)
            except FAILURES as error:
                self.run.warn(f"server {asked} does not start: {error}")
        self.untell()

    def people(self) -> list[str]:
        container = self._container(self.server())
        if container is None:
            return []
        try:
            output = self._carrel(container, "activity.py", self.settings.base_url)
            return at_work(json.loads(output), datetime.datetime.now(datetime.timezone.utc))
        except (EngineError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise CannotTell(str(error)) from error

    def tell(self, text: str) -> None:
        container = self._container(self.server())
        if container is None:
            return
        announce = shlex.split(container.labels.get("carrel.announce", ""))
        ways: list[Callable[[], str]] = [
            lambda: self._carrel(container, "notice.py", "add", self.settings.notebooks, text=text)
        ]
        if announce:
            ways.append(lambda: self.engine.exec(container, *announce, text=text))
        for way in ways:
            try:
                way()
            except EngineError as error:
                self.run.warn(f"the notice could not be shown: {error}")

    def untell(self) -> None:
        container = self._container(self.server())
        if container and container.running:
            try:
                self._carrel(container, "notice.py", "remove", self.settings.notebooks)
            except EngineError as error:
                self.run.warn(f"the notice could not be removed; the next reset tries again: {error}")

    def renew(self) -> None:
        old, new = self.server(), 3 - self.server()
        before = self._container(old)
        tags = {before.image: before.image_id} if before else {}
        page = ""
        with contextlib.suppress(*FAILURES):  # perhaps the old one is broken
            page = self._login_page(old)
        public = web.version(self.settings.url + "api") is not None
        try:
            self.run.step("start", f"start server {new} beside server {old}")
            if self.rotation:
                self.rotation.begin(self._any_image)
            self._start(new)
            self._smoke(new)
            if LOGIN_NOTICE in page and LOGIN_NOTICE not in self._login_page(new):
                self.run.warn("the notice is missing from the new image's log-in page: run the site playbook")
            self._switch(old, new, public)
            self._stop(old, public)
        except FAILURES as error:
            self._go_back(old, new, tags, error)
        self.untell()

    def _switch(self, old: int, new: int, public: bool) -> None:
        self.run.step("switch", f"switch Apache to server {new}")
        self._let_apache_ask(new)
        if public and not self._answers_in_public():
            raise ResetError(f"{self.settings.url} does not answer from server {new}")
        if self.rotation:
            self.rotation.publish()
        if self._container(old):
            self.run.step("drain", f"wait until server {old} has answered its requests")
            time.sleep(self.settings.drain_seconds)

    def _stop(self, old: int, public: bool) -> None:
        self.run.step("stop", f"stop server {old}")
        if self._container(old) is None:
            return
        try:
            self.engine.compose("stop", f"lab-{old}", timeout=STOP_SECONDS)
            # If Apache had not switched, the old server would have answered until now.
            if not public or self._answers_in_public():
                self._remove(old)
                return
            if self.rotation:
                self.rotation.back()  # it reads its token when it starts
            self.engine.compose("start", f"lab-{old}", timeout=STOP_SECONDS)
        except EngineError as error:
            self.run.warn(f"server {old} was not removed; the next reset tries again: {error}")
            return
        self._wait_while_starting(old)
        raise ResetError(f"Apache still asks server {old}, which was stopped: run the site playbook")

    def _go_back(self, old: int, new: int, tags: dict[str, str], error: Exception) -> None:
        """The new server does not work: go back to the old one. Without an old server, try older images."""
        self._remove_open()
        failed = self._container(new)
        text = f"{error}{self._log(failed)}"
        served = self._serves(old)
        if served:
            self._let_apache_ask(old)
        self._remove(new)
        images.restore(self.run, tags)
        if self.rotation:
            self.rotation.back()
        if served:
            raise ResetError(text) from error
        tag = failed.image if failed else self._definition()["image"]
        current = self.engine.image(tag)
        for image_id in images.known_good(self.run, tag, but=failed.image_id if failed else None):
            self.run.step("start", f"start server {new} from {image_id}, which was healthy before")
            images.restore(self.run, {tag: image_id})
            try:
                self._start(new)
            except FAILURES as again:
                self.run.warn(f"{image_id} does not work any more: {again}")
                self._remove(new)
                continue
            self._let_apache_ask(new)
            self._remove(old)
            raise ResetError(f"{text}\nServer {new} runs from {image_id}, which was healthy before.") from error
        if current:
            images.restore(self.run, {tag: current.id})
        raise ResetError(text) from error

    def _start(self, which: int) -> None:
        """Start a server from its image; ResetError or EngineError unless one can log in."""
        up = ["up", "--detach", "--force-recreate"]
        self.engine.compose(*up, f"lab-{which}", timeout=self.settings.start_timeout_seconds + 60)
        self._wait_until_healthy(which)
        web.prove(self.settings.ports[which - 1])
        if web.version(self._url(which, "api"), 10) is None:
            raise ResetError(f"server {which} is healthy, but does not answer at {self._url(which, 'api')}")
        self._login_page(which)
        if container := self._container(which):
            try:
                self._carrel(container, "started.py", self.settings.base_url, self.settings.notebooks)
            except EngineError:
                self._remove(which)  # it must not run, even if no other server does
                raise

    def _smoke(self, which: int) -> None:
        """Run the administrator's notebooks in a new server; ResetError if one fails."""
        seconds = self.settings.smoke_seconds
        container = self._container(which)
        # After a failed run the settings may be newer than what is deployed.
        if not seconds or not container or not os.path.isfile(f"{self.settings.directory}/server/smoke.json"):
            return
        self.run.step("smoke", f"run the smoke notebooks in server {which}")
        try:
            said = self._carrel(container, "smoke.py", self.settings.base_url, timeout=seconds + SMOKE_SPARE_SECONDS)
        except EngineError as error:
            why = str(error).partition("\n")[2] or str(error)
            self.run.state.smoked(f"failed: {why}")
            raise ResetError(f"server {which} is not healthy, a smoke notebook failed: {why}") from error
        self.run.state.smoked(said.strip()[-LONGEST_SAID:])

    def _wait_until_healthy(self, which: int) -> None:
        """Compose could wait, too, but would let a server that lets in anybody run meanwhile."""
        seconds = self.settings.start_timeout_seconds
        end = time.monotonic() + seconds
        while True:
            container = self._container(which)
            if container and container.open:
                self._remove(which)
                raise ResetError(f"server {which} {LETS_IN_ANYBODY}: the image's command removes password and token")
            if container and container.healthy:
                return
            if time.monotonic() > end:
                raise ResetError(f"server {which} did not become healthy within {seconds} s")
            time.sleep(0.5)

    def _login_page(self, which: int) -> str:
        """The log-in page; empty if the server has none. ResetError if nobody could log in with it."""
        status, text = web.get(self._url(which, "login"), 10)
        if status >= 500 or (status == 200 and not is_login_page(text)):
            what = f"status {status}" if status != 200 else "no form with a password field"
            raise ResetError(f"nobody could log in at server {which}: its log-in page has {what}")
        return text if status == 200 else ""

    def _let_apache_ask(self, which: int) -> None:
        if which == 2:
            os.close(files.open_to_write(self.second, os.O_CREAT))
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.second)
        sync_directory(self.settings.state_directory)

    def _answers_in_public(self) -> bool:
        end = time.monotonic() + APACHE_GOES_OVER_WITHIN_SECONDS
        while web.version(self.settings.url + "api") is None:
            if time.monotonic() >= end:
                return False
            time.sleep(0.5)
        return True

    def _serves(self, which: int) -> bool:
        """Docker's health check counts, too: a server that is busy for a moment is not down."""
        container = self._container(which)
        if container is None or not container.running:
            return False
        return container.health == "healthy" or web.version(self._url(which, "api"), 10) is not None

    def _wait_while_starting(self, which: int) -> None:
        end = time.monotonic() + self.settings.start_timeout_seconds
        while time.monotonic() < end:
            container = self._container(which)
            if container is None or container.health != "starting" or web.version(self._url(which, "api")):
                return
            time.sleep(1)

    def _container(self, which: int) -> Container | None:
        labels = {"com_docker_compose_project": self.settings.name, "com_docker_compose_service": f"lab-{which}"}
        found = self.engine.containers(**labels)
        return max(found, key=lambda container: container.running, default=None)

    def _remove_open(self) -> None:
        for which in (1, 2):
            if (container := self._container(which)) and container.open:
                self.run.warn(f"server {which} {LETS_IN_ANYBODY}; it is removed")
                self._remove(which)

    def _remove(self, which: int) -> None:
        if self._container(which):
            self.engine.compose("rm", "--stop", "--force", f"lab-{which}", timeout=STOP_SECONDS)

    def _url(self, which: int, path: str) -> str:
        return web.local(self.settings.ports[which - 1], self.settings.base_url, path)

    def _carrel(self, container: Container, script: str, *arguments: str, timeout: int = 60, text: str = "") -> str:
        """Run one of the scripts in /etc/carrel in a container."""
        python = container.labels.get("carrel.python", "python3")
        return self.engine.exec(container, python, f"/etc/carrel/{script}", *arguments, timeout=timeout, text=text)

    def _any_image(self) -> tuple[str, str]:
        """An image of the instance, and the Python in it."""
        for which in (self.server(), 3 - self.server()):
            if container := self._container(which):
                return container.image_id, container.labels.get("carrel.python", "python3")
        definition = self._definition()
        return definition["image"], definition.get("labels", {}).get("carrel.python", "python3")

    def _definition(self) -> dict[str, Any]:
        project = json.loads(self.engine.compose("config", "--format", "json"))
        definition: dict[str, Any] = project["services"]["lab-1"]
        return definition

    def _log(self, container: Container | None) -> str:
        if container is None:
            return ""
        with contextlib.suppress(EngineError):
            lines = self.engine.docker("logs", "--tail", str(LOG_LINES), container.id, errors_too=True)
            return f"\nIts last lines:\n{lines}" if lines else "\nIt wrote nothing."
        return ""


def is_login_page(text: str) -> bool:
    """Whether a rendered page has a form with a password field."""
    return "<form" in text and re.search(r"""type\s*=\s*["']?password""", text) is not None


def at_work(activity: dict[str, Any], now: datetime.datetime) -> list[str]:
    """Who is at work, from the output of activity.py: busy kernels, and terminals that were used lately."""
    kernels = [
        f"kernel {kernel['name']} is busy" for kernel in activity["kernels"] if kernel["execution_state"] == "busy"
    ]
    terminals = []
    for terminal in activity["terminals"]:
        used = _moment(terminal.get("last_activity"))
        if used is None:
            terminals.append(f"terminal {terminal['name']} may be in use")
        elif now - used < TERMINAL_COUNTS_FOR:
            terminals.append(f"terminal {terminal['name']} was used at {used:%H:%M}")
    return kernels + terminals


def _moment(value: object) -> datetime.datetime | None:
    """A time in ISO 8601, in UTC if it names no zone; None if the server does not know it, or the host's zone has no
    such time.
    """
    try:
        moment = datetime.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).astimezone()
    except (ValueError, OverflowError, OSError):
        return None
