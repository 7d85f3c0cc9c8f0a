# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine, through the docker command."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from . import names, printable, programs

LAST_LINES = 15
LOOKS = 3
SERVICE = "rootless-docker.service"
OPEN = 3  # the exit code of the lab's healthcheck.py
STARTS_WITHIN_SECONDS = 60
KILL_SECONDS = 15  # how long timeout(1) has to end a command before it is killed itself
LONGEST_TAIL = 4000


class EngineError(Exception):
    """A docker command failed or did not end in time; the text has its last lines."""


@dataclasses.dataclass(frozen=True)
class Container:
    """The relevant part of `docker inspect`."""

    id: str
    name: str
    running: bool
    health: str | None  # starting, healthy, unhealthy; None: the container has no health check
    image_id: str
    image: str  # its name in compose.yaml
    labels: dict[str, str]
    networks: dict[str, str]  # NAME: address
    open: bool = False  # the health check found that the server lets in anybody

    @property
    def healthy(self) -> bool:
        return self.running and self.health in ("healthy", None)


@dataclasses.dataclass(frozen=True)
class Image:
    id: str
    digest: str | None  # the registry's; None: it was built here


class Engine:
    """Runs docker, never through a shell.

    `lock` is the descriptor of the reset's lock. The commands inherit it: after a kill of the reset, the lock is held
    until the last command that it left behind has ended (each has its timeout), so the next reset finds none running.
    """

    def __init__(self, socket: str, directory: str, compose_files: Sequence[str], lock: int | None = None) -> None:
        self.socket = socket
        self._host = ["docker", "--host", f"unix://{socket}"]
        files = [argument for file in compose_files for argument in ("--file", file)]
        # .env has the container's variables. Compose would take its own settings from it, such as the project's name.
        self._compose = ["compose", "--project-directory", directory, "--env-file", "/dev/null", *files]
        self._inherited = () if lock is None else (lock,)

    def docker(self, *arguments: str, timeout: int = 60, text: str = "", errors_too: bool = False) -> str:
        """Return the output of `docker ARGUMENTS`; with `errors_too`, also standard error. `text` is its input."""
        return self._run([*self._host, *arguments], f"docker {' '.join(arguments)}", timeout, text, errors_too)

    def compose(self, *arguments: str, timeout: int = 120) -> str:
        command = [*self._host, *self._compose, *arguments]
        return self._run(command, f"docker compose {' '.join(arguments)}", timeout)

    def exec(self, container: Container, *command: str, timeout: int = 60, text: str = "") -> str:
        return self.docker("exec", "--interactive", container.id, *command, timeout=timeout, text=text)

    def containers(self, **labels: str) -> list[Container]:
        """Every container, running or not, with these labels; an underscore in a label's name stands for a dot."""
        filters = [f"--filter=label={key.replace('_', '.')}={value}" for key, value in labels.items()]
        for _unused in range(LOOKS):
            ids = self.docker("ps", "--all", "--no-trunc", "--quiet", *filters).split()
            try:
                return self._inspect(ids)
            except EngineError as error:  # one of them ended in between
                if "no such container" not in str(error).lower():
                    raise
        raise EngineError(f"containers start and end too fast to inspect: {ids}")

    def _inspect(self, ids: list[str]) -> list[Container]:
        if not ids:
            return []
        return [
            Container(
                id=raw["Id"],
                name=raw["Name"].lstrip("/"),
                running=raw["State"]["Running"] and not raw["State"].get("Restarting", False),
                health=(raw["State"].get("Health") or {}).get("Status"),
                image_id=raw["Image"],
                image=raw["Config"]["Image"],
                labels=raw["Config"]["Labels"] or {},
                networks={name: network["IPAddress"] for name, network in raw["NetworkSettings"]["Networks"].items()},
                open=_last_check(raw["State"]) == OPEN,
            )
            for raw in json.loads(self.docker("container", "inspect", *ids))
        ]

    def image(self, name: str, tag: str | None = None) -> Image | None:
        """An image by its tag, or by its id with the digest that it has as `tag`; None if it is not there."""
        try:
            (raw,) = json.loads(self.docker("image", "inspect", name))
        except EngineError as error:
            if "no such image" in str(error).lower():
                return None
            raise
        repository = names.repository(tag or name)
        digests = [digest.partition("@") for digest in raw["RepoDigests"] or []]
        return Image(raw["Id"], next((digest for where, _unused, digest in digests if where == repository), None))

    def answers(self) -> bool:
        try:
            self.docker("version", "--format", "{{.Server.Version}}", timeout=20)
        except EngineError:
            return False
        return True

    def start(self) -> None:
        """Start the account's rootless engine and wait until it answers."""
        runtime = os.path.dirname(self.socket)
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}
        command = ["systemctl", "--user", "start", SERVICE]
        self._run(command, " ".join(command), STARTS_WITHIN_SECONDS, environment=environment)
        end = time.monotonic() + STARTS_WITHIN_SECONDS
        while not self.answers():
            if time.monotonic() > end:
                raise EngineError(f"{SERVICE} was started, but {self.socket} does not answer")
            time.sleep(1)

    def _run(
        self,
        command: list[str],
        shown: str,
        timeout: int,
        text: str = "",
        errors_too: bool = False,
        environment: dict[str, str] | None = None,
    ) -> str:
        began = time.monotonic()
        try:
            with programs.standard_input(text) as standard_input:
                program = subprocess.Popen(
                    limited(command, timeout), stdin=standard_input, stdout=subprocess.PIPE, env=environment,
                    stderr=subprocess.STDOUT if errors_too else subprocess.PIPE, pass_fds=self._inherited,
                    start_new_session=True,
                )  # fmt: skip
            code, output, errors = programs.collect(program, timeout + KILL_SECONDS)
        except OSError as error:
            raise EngineError(f"{shown}: {error}") from error
        except programs.EndlessError as error:
            raise EngineError(f"{shown} {error} and was killed") from error
        if code == 0:
            return output
        tail = printable.text("\n".join(f"{output}{errors}".splitlines()[-LAST_LINES:])[-LONGEST_TAIL:])
        if time.monotonic() - began >= timeout:
            raise EngineError(f"{shown} did not end within {timeout} s\n{tail}".strip())
        raise EngineError(f"{shown} failed with exit code {code}:\n{tail}")


def limited(command: Sequence[str], seconds: int) -> list[str]:
    """timeout(1) also ends the command's children, even if this program is killed."""
    return ["timeout", "--kill-after=5", str(max(seconds, 1)), *command]


def _last_check(state: dict[str, Any]) -> int | None:
    """The exit code of the last health check, also if the container has been stopped since."""
    log = (state.get("Health") or {}).get("Log")
    return log[-1]["ExitCode"] if log else None
