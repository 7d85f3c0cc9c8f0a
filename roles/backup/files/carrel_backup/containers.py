# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that use what a restore replaces: find, stop and start them again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from . import claims, commands, files
from .commands import CommandError
from .run import BackupError, Run

STOP_ROUNDS = 3
CONNECT_SECONDS = 30
RESET_SECONDS = 1800
LOOK_SECONDS = 0.5
TOUCH_SECONDS = 60


class UntouchedError(BackupError):
    """The command failed, and nothing has been replaced yet."""


class InUseError(UntouchedError):
    """Somebody uses the files."""


def using(run: Run, leaves: Sequence[str], whole: bool) -> list[dict[str, str]]:
    """The running containers that mount one of the directories, or belong to the instance."""
    name, directory = run.settings.name, run.settings.directory
    filters = [[f"volume={directory}/{leaf}"] for leaf in leaves]
    if whole:
        filters = [[f"label=com.docker.compose.project={name}"], [f"label=carrel.instance={name}"]]
    if not listens(run.settings.socket):
        run.step("stop", "the engine does not run")
        return []
    found = [container for each in filters for container in run.containers(*each)]
    return list({container["ID"]: container for container in found}.values())


def listens(path: str) -> bool:
    """Whether an engine listens on the socket; if it listens and does not answer, that is an error elsewhere."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONNECT_SECONDS)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def refuse(users: Sequence[Mapping[str, str]], may_stop: bool) -> None:
    if users and not may_stop:
        names = ", ".join(container["Names"] for container in users[:5])
        raise InUseError(f"{names} uses the files to restore: stop it, or let the restore stop it (--stop)")


def stop(run: Run, leaves: Sequence[str], whole: bool, may_stop: bool) -> list[Mapping[str, str]]:
    """Stop containers that use the directories now: fetching takes long, and people start servers meanwhile."""

    def found() -> list[dict[str, str]]:
        users = using(run, leaves, whole)
        refuse(users, may_stop)
        return users

    return stop_all(run, found, "nothing was restored; try again")


def stop_all(
    run: Run, found: Callable[[], Sequence[Mapping[str, str]]], advice: str, at_once: bool = False
) -> list[Mapping[str, str]]:
    """Stop the containers that are FOUND until there are none; return those of the instance itself.

    The restore starts these again; users start their servers themselves. state.json records them before they are
    stopped, so that the next run can start them. AT_ONCE: stop all at the same time.
    """
    own: list[Mapping[str, str]] = []
    for _unused in range(STOP_ROUNDS):
        users = found()
        if not users:
            return own
        own += [container for container in users if "com.docker.compose.project=" in container["Labels"]]
        try:
            run.state.owe({container["ID"]: container["Names"] for container in own})
        except OSError as error:
            raise UntouchedError(f"{run.state.path} cannot be written, so nothing was restored: {error}") from error
        run.step("stop", f"stop {', '.join(container['Names'] for container in users)}")
        for group in [users] if at_once else [[container] for container in users]:
            unless_gone(run, "stop", *(container["ID"] for container in group))
    if users := found():
        names = ", ".join(container["Names"] for container in users)
        raise InUseError(f"{names} was started again while it was stopped: {advice}")
    return own


@contextlib.contextmanager
def resets_kept_out(run: Run) -> Iterator[None]:
    """Hold the lock of the instance's resets, as they do, while no playbook changes its containers either."""
    with contextlib.ExitStack() as opened:
        lock = opened_lock(run)
        if lock is not None:
            opened.callback(os.close, lock)
        end, said = time.monotonic() + RESET_SECONDS, ""
        while at_work := others(run, lock):
            if time.monotonic() > end:
                raise InUseError(f"{at_work}: nothing was restored; try again when that has ended")
            if at_work != said:
                run.step("stop", f"wait: {at_work}")
                said = at_work
            time.sleep(LOOK_SECONDS)
        yield


def opened_lock(run: Run) -> int | None:
    """The lock of resets. It belongs to the account, which makes it at the first reset. None if there are no resets."""
    folder = f"{os.path.dirname(run.settings.state_directory)}/reset"
    path = f"{folder}/lock"
    if os.path.isdir(folder) and not os.path.lexists(path):  # or the very first reset would not be kept out
        code, _unused, said = commands.run([*run.account.itself(), "touch", path], TOUCH_SECONDS, "touch")
        if code:
            raise BackupError(f"the lock of the resets cannot be made: {said.strip()}")
    try:
        return files.open_to_write(path)
    except FileNotFoundError:
        return None


def others(run: Run, lock: int | None) -> str:
    """Who is changing containers of the instance; nobody, once we have the LOCK.

    Take the lock first, then look for a claim. A playbook claims first, and then looks for the lock, so one of them
    sees the other. A claim has precedence, as in a reset.
    """
    try:
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "a reset of the instance is at work"
    if claimant := claims.claimant(run.settings.name):
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_UN)
        return f"{claimant} is changing the instance's containers"
    return ""


def start(run: Run) -> None:
    """Start what this restore, or a killed one before it, has stopped; the next run tries again if this fails."""
    for identity, name in list(run.state.owed.items()):
        run.step("start", f"start {name}")
        try:
            unless_gone(run, "start", identity)
        except CommandError as error:
            run.warn(f"{name} was stopped for a restore and does not start; the next run tries again: {error}")
            continue
        run.state.paid(identity)


def unless_gone(run: Run, command: str, *identities: str) -> None:
    """Ignore a container that was removed meanwhile."""
    try:
        run.docker(command, *identities)
    except CommandError as error:
        if "No such container" not in str(error):
            raise
