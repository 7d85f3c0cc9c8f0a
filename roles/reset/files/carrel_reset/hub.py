# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hubs: the hub is recreated while proxy and users' servers keep running; servers are renewed once they are idle."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from . import files, images, trial, web
from .api import ApiError
from .engine import LAST_LINES, Container, EngineError
from .run import LOOK_EVERY_SECONDS, PutOff, ResetError, Run
from .servers import HubApi, Server, ServerError, Unfinished, busy

AT_ONCE = 4
SPARE_SECONDS = 60  # in addition to the hub's time for a server, and compose's for a container
TELL_SECONDS = 20
VERSION_SECONDS = 120
JUDGES = 3  # users' servers that have to fail before a new image is at fault
SINGLEUSER = "jupyterhub-singleuser"
NOTICE = os.path.join(os.path.dirname(__file__), "notice.py")
# An image may have no Python on its PATH, but its jupyterhub-singleuser begins with the path of one. Users may have
# replaced that Python, so its output is not read.
PYTHON = """\
python=$(command -v python3) || python=$(sed -n '1s/^#!//p' "$(command -v jupyterhub-singleuser)")
exec $python -c "$@" >/dev/null 2>&1
"""
_RANDOM = secrets.SystemRandom()


class AtWorkError(Exception):
    """Somebody has begun to work in a server that was idle."""


class Hub:
    """See Kind in run.py."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._unfinished = Unfinished(f"{run.settings.state_directory}/unfinished.json")
        self._passed: set[str] = set()  # ids of new images that this reset has checked
        self._proven: set[str] = set()  # ids of new images that a server has started from
        self._cut_off = run.options.people == "ignore"  # whether servers are renewed in which people are at work

    def images(self) -> list[str]:
        try:
            deployed = [entry["image"] for entry in self._of("config.json", "images")]
        except (ResetError, KeyError, TypeError):
            return self.run.settings.images  # `renew` reports problems of the file
        return [tag for tag in self.run.settings.images if tag in deployed]

    def recover(self) -> None:
        run = self.run
        if not self.answers():
            run.warn("the hub does not answer; its containers are started")
            try:
                self._up()
                self._wait_for_answer()
            except EngineError as error:
                run.warn(f"the hub could not be started: {error}")
        if run.state.interrupted:
            self.untell()
        if self.answers():
            self._finish("recover")

    def tell(self, text: str) -> None:
        failed = self._notice("add", text)
        if failed:
            self.run.warn(f"could not notify {', '.join(failed)}")

    def untell(self) -> None:
        if failed := self._notice("remove"):
            self.run.warn(f"the notice could not be removed from {', '.join(failed)}")

    def people(self) -> list[str]:
        return []

    def renew(self) -> None:
        run = self.run
        before = self._containers()
        self._check_new_images()
        run.step("start", "recreate the hub; its proxy and its users' servers keep running")
        self._recreate()
        try:
            self._finish("start")
            self._renew_servers({container.id for container in before})
        except ApiError as error:
            raise ResetError(f"the hub was recreated, but its users' servers cannot be renewed: {error}") from error
        finally:
            self.untell()

    def answers(self) -> bool:
        port, base_url = self.run.settings.ports[0], self.run.settings.base_url
        return web.version(web.local(port, base_url, "hub/api/")) is not None

    def running(self) -> dict[str, str]:
        """Images of users' servers; if none runs, the image of the next one. A new one may not be known to work.

        Somebody may have started a server between the pull and a trial that failed: then the tag means another image.
        """
        containers = self._containers()
        found: dict[str, str] = {}
        for tag in sorted({*self.images(), *(container.image for container in containers)}):
            next_one, known = self._id(tag), images.known_good(self.run, tag, None)
            if next_one in self._passed:
                known = [next_one, *known]
            used = [container.image_id for container in containers if container.image == tag]
            works = [image_id for image_id in used or filter(None, [next_one]) if image_id in known or not known]
            if next_one and next_one in used:
                found[tag] = next_one
            elif works:
                found[tag] = works[0]
        return found

    def server(self) -> int | None:
        return None

    def container(self) -> str | None:
        labels = {"com_docker_compose_project": self.run.settings.name, "com_docker_compose_service": "hub"}
        return next((found.id for found in self.run.engine.containers(**labels) if found.running), None)

    def _id(self, tag: str) -> str | None:
        image = self.run.engine.image(tag)
        return image.id if image else None

    def _containers(self) -> list[Container]:
        """The users' containers that run."""
        found = self.run.engine.containers(carrel_instance=self.run.settings.name)
        return [container for container in found if "carrel.user" in container.labels and container.running]

    def _up(self, *arguments: str) -> None:
        seconds = self.run.settings.start_timeout_seconds
        limit = ["--wait", "--wait-timeout", str(seconds)]
        self.run.engine.compose("up", "--detach", *limit, *arguments, timeout=seconds + SPARE_SECONDS)

    def _recreate(self) -> None:
        try:
            self._start_hub()
        except EngineError as error:
            self.run.warn(f"the hub did not become healthy; it is recreated again: {error}")
            try:
                self._start_hub()
            except EngineError as again:
                raise ResetError(f"the hub does not become healthy: {again}\n{self._log()}") from again

    def _start_hub(self) -> None:
        # Without --no-deps: compose before 2.32 would leave depends_on out of the container's config-hash, and the next
        # site run would recreate the hub again. The proxy and the database stay, unless their files changed.
        self._up("--force-recreate", "hub")
        self._wait_for_answer()

    def _wait_for_answer(self) -> None:
        """Healthy is not enough: compose 2.26 reports a hub that ends and is restarted again and again as running, and
        the proxy ends connections until it has the hub's routes (starting.mjs).
        """
        end = time.monotonic() + self.run.settings.start_timeout_seconds
        while not self.answers():
            if time.monotonic() > end:
                raise EngineError(f"it does not answer at the port {self.run.settings.ports[0]}")
            time.sleep(1)

    def _log(self) -> str:
        try:
            return self.run.engine.compose("logs", "--no-log-prefix", "--tail", str(LAST_LINES), "hub")
        except EngineError as error:
            return str(error)

    def _api(self) -> HubApi:
        token, seconds = self._of("secrets.json", "reset_token"), SPARE_SECONDS
        for key in ("spawn_timeout_seconds", "http_timeout_seconds"):
            seconds += self._of("config.json", key)
        return HubApi(self.run.settings.ports[0], self.run.settings.base_url, token, seconds)

    def _of(self, name: str, key: str) -> Any:
        """A value of one of the hub's own files."""
        path = f"{self.run.settings.directory}/hub/{name}"
        try:
            return json.loads(files.read(path))[key]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResetError(f"{path}: {type(error).__name__}: {error}; run the site playbook again") from error

    def _check_new_images(self) -> None:
        """At night there may be no server on which to try a new image: let it print its version, and run notebooks."""
        untried = self._untried()
        for tag in list(untried):
            new, before = untried.pop(tag)
            try:
                self._check_new_image(tag)
            except (EngineError, OSError, ResetError) as error:
                raise ResetError(f"{error}\n{self._go_back(tag, new, before, untried)}") from error
            self._passed.add(new)

    def _check_new_image(self, tag: str) -> None:
        program = self._of("config.json", "command")[0]
        seconds = sum(self._of("config.json", f"{key}_timeout_seconds") for key in ("spawn", "http"))
        if program == SINGLEUSER:
            self.run.step("start", f"check that the new image of {tag} has a working {program}")
            command = ["run", "--rm", "--pull", "never", "--network", "none", "--entrypoint", program, tag, "--version"]
            self.run.engine.docker(*command, timeout=VERSION_SECONDS)
        trial.attempt(self.run, tag, seconds)

    def _untried(self) -> dict[str, tuple[str, str]]:
        """The tags whose images are new and not known to work: {tag: (its id, id of the image from before)}."""
        found = {}
        for tag in self.images():
            new, good = self._id(tag), images.known_good(self.run, tag, None)
            if new and good and new not in [*good, *self._proven]:
                before, _unused = self.run.pulled.get(tag, (good[0], new))
                found[tag] = (new, before if self._id(before) else good[0])
        return found

    def _go_back(self, failed: str, new: str, before: str, untried: Iterable[str]) -> str:
        """Let the tag whose NEW image FAILED mean the image from BEFORE, those UNTRIED what they meant, and say so.

        Otherwise the next server that somebody starts would be from an image that is not known to work. But a tag that
        this reset has not pulled stays: a playbook or another reset may have accepted its image, and people use it.
        """
        images.restore(self.run, {failed: before})
        said = [(failed, new, before)]
        said += [(tag, self.run.pulled[tag][1], old) for tag, old in images.take_back(self.run, untried).items()]
        return "\n".join(f"{tag} was new ({image_id}) and means {old} again" for tag, image_id, old in said)

    def _finish(self, step: str) -> None:
        """Start the servers that a reset had stopped when it was interrupted."""
        users, api = self._unfinished.users, self._api()
        if not users:
            return
        self.run.step(step, f"start what an interrupted reset stopped: {', '.join(users)}")
        self._each(users, lambda user: self._start(api, user))

    def _start(self, api: HubApi, user: str) -> None:
        api.start(user)
        self._unfinished.remove(user)

    def _each(self, users: Iterable[str], act: Callable[[str], None]) -> set[str]:
        """Act on a few users at once, and return who has begun to work meanwhile. Failures are warnings."""
        begun: set[str] = set()

        def attempt(user: str) -> str | None:
            try:
                act(user)
            except AtWorkError:
                begun.add(user)
            except ServerError as error:
                self._unfinished.remove(user)
                return str(error)
            except ApiError as error:
                return str(error)
            return None

        with ThreadPoolExecutor(AT_ONCE) as pool:
            # The threads must not use state and journal.
            for problem in pool.map(attempt, users):
                if problem:
                    self.run.warn(problem)
        return begun

    def _renew_servers(self, old: set[str]) -> None:
        """Renew servers with OLD containers: idle ones now, the others once they are idle, or at the deadline."""
        run = self.run
        api = self._api()
        said: list[str] = []
        while servers := self._servers(api, old):
            at_work = self._at_work(servers)
            if at_work and run.options.people == "wait" and time.monotonic() >= run.deadline:
                run.warn(f"the deadline has passed; the reset cuts off: {', '.join(at_work)}")
                at_work, self._cut_off = [], True
            turn = [server for server in servers if server.user not in at_work]
            if turn:
                run.step("stop", f"renew the servers of {', '.join(server.user for server in turn)}")
                begun = self._renew(api, turn)
                old -= {server.container for server in turn if server.user not in begun}
                at_work = sorted({*at_work, *begun})
            if not at_work:
                return
            if run.options.people == "skip":
                run.warn(
                    f"{len(at_work)} servers stay as they are, because people are at work there: {', '.join(at_work)}"
                )
                return
            if at_work != said:
                run.step("stop", f"wait for {', '.join(at_work)}")
                said = at_work
            try:
                run.sleep_until(min(time.monotonic() + LOOK_EVERY_SECONDS, run.deadline))
            except PutOff as reason:
                run.warn(f"{len(at_work)} servers are left as they are: {', '.join(at_work)}; {reason}")
                return

    def _servers(self, api: HubApi, old: set[str]) -> list[Server]:
        """The servers in the OLD containers that the hub knows, too."""
        active = api.active()
        found = []
        for container in self._containers():
            user = container.labels["carrel.user"]
            if container.id not in old or user not in active:
                continue
            try:
                token = self._token(container)
            except EngineError:
                continue  # the server has just ended
            url = urlsplit(active[user]["url"])
            image = container.image, container.image_id
            found.append(Server(user, container.id, *image, url.netloc, url.path, token))
        return sorted(found, key=lambda server: server.user)

    def _notice(self, action: str, text: str = "") -> list[str]:
        """Run notice.py in each user's container; return the users for whom that failed."""
        with open(NOTICE, encoding="utf-8") as stream:
            program = stream.read()

        def attempt(container: Container) -> str | None:
            command = ["/bin/sh", "-c", PYTHON, "notice", program, action, self.run.settings.notebooks]
            try:
                self.run.engine.exec(container, *command, timeout=TELL_SECONDS, text=text)
            except EngineError:
                return container.labels["carrel.user"]
            return None

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return sorted(user for user in pool.map(attempt, self._containers()) if user)

    def _token(self, container: Container) -> str:
        lines = self.run.engine.docker(
            "container", "inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", container.id
        )
        start = "JUPYTERHUB_API_TOKEN="
        return next((line[len(start) :] for line in lines.splitlines() if line.startswith(start)), "")

    def _at_work(self, servers: list[Server]) -> list[str]:
        if self._cut_off:
            return []
        port = self.run.settings.ports[0]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda server: busy(server, port), servers))
        return [server.user for server, answer in zip(servers, answers) if answer]

    def _renew(self, api: HubApi, servers: list[Server]) -> set[str]:
        """Renew one server with a new image alone: if neither it nor others start, the rest keep their image.

        Return whose servers are left for later, because they have begun to work there.
        """
        rest = {server.user: server for server in servers}
        begun: set[str] = set()
        for tag in sorted({server.image for server in servers}):
            new = self._id(tag)
            if new and new not in [*self._proven, *images.known_good(self.run, tag, None)]:
                its = [server for server in servers if server.image == tag]
                # At random: otherwise the same few users, by their names, would decide each night.
                tried = self._try(api, _RANDOM.sample(its, len(its)), new)
                if tried:
                    self._proven.add(new)
                else:
                    tried = [server.user for server in its]
                    begun.update(tried)
                for user in tried:
                    del rest[user]
        return begun | self._each(rest, lambda user: self._renew_one(api, rest[user]))

    def _renew_one(self, api: HubApi, server: Server) -> None:
        # Long after all were asked, because the others before it took their time.
        if not self._cut_off and busy(server, self.run.settings.ports[0]):
            raise AtWorkError
        self._unfinished.add(server.user)
        api.stop(server.user)
        self._start(api, server.user)

    def _try(self, api: HubApi, servers: list[Server], new: str) -> list[str]:
        """Renew servers whose image has changed until one starts; return whose were tried, none if all are at work.

        A server that does not start may be the fault of its home, as users can write there what stops it. If none
        starts, everybody gets the image from before. So does everybody with another pulled image of which no server
        has started yet, because the reset ends here.
        """
        failed: dict[str, ServerError] = {}
        for server in servers:
            if len(failed) == JUDGES:
                break
            try:
                self._renew_one(api, server)
            except AtWorkError:
                continue
            except ServerError as error:
                failed[server.user] = error
                continue
            for user, why in failed.items():
                self._unfinished.remove(user)
                self.run.warn(f"{why}; the one of {server.user} starts from the new image, so look at {user}'s home")
            return [*failed, server.user]
        if not failed:
            return []
        tag = servers[0].image
        good = images.known_good(self.run, tag, new) or [servers[0].image_id]
        others = [other for other in self._untried() if other != tag]
        went_back = self._go_back(tag, new, good[0], others)
        self._each(failed, lambda user: self._start_again(api, user))
        raise ResetError("\n".join([*map(str, failed.values()), went_back]))

    def _start_again(self, api: HubApi, user: str) -> None:
        try:
            self._start(api, user)
        except ServerError as error:
            raise ServerError(f"{error}; from the image from before, too: look at {user}'s home") from error
