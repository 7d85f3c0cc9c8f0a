# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find an engine's own socket. Its account can put a link to another engine's, such as root's, in its place."""

from __future__ import annotations

import os
import stat

from ansible_collections.carrel.jupyter.plugins.module_utils._shared.told import Told

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
ALIAS, RUN = "/var/run/", "/run/"  # the first is a link of root's to the second


class SocketError(Told):
    """The socket cannot be used. The text says what to do."""


class ForeignSocketError(SocketError):
    """Something else is in the socket's place."""


def opened_directory(path: str) -> tuple[int, bool]:
    """Return a descriptor of a directory, and whether only root, or whoever runs this, can change it and its path."""
    path = f"{path}/"
    path = RUN + path[len(ALIAS) :] if path.startswith(ALIAS) else path
    above, own = os.open("/", DIRECTORY), True
    try:
        for folder in filter(None, path.split("/")):
            own = own and _is_own(above, may_be_shared=True)  # as /tmp: nobody can replace what is root's
            below = os.open(folder, DIRECTORY, dir_fd=above)
            os.close(above)
            above = below
        return above, own and _is_own(above)
    except BaseException:
        os.close(above)
        raise


def _is_own(directory: int, may_be_shared: bool = False) -> bool:
    status = os.fstat(directory)
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    shared = may_be_shared and status.st_mode & stat.S_ISVTX
    return status.st_uid in (0, os.geteuid()) and bool(shared or not others_write)


def opened(path: str) -> int:
    """Return a descriptor of the socket, which must belong to its directory's owner. Nothing is sent there."""
    folder, name = os.path.split(path)
    above, _unused = opened_directory(folder)
    try:
        owner = os.fstat(above).st_uid
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    finally:
        os.close(above)
    status = os.fstat(descriptor)
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != owner:
        os.close(descriptor)
        raise ForeignSocketError(
            f"{path} is no socket of its directory's owner, so nothing was asked there. See what it is, and restart the"
            " engine, which makes its socket anew"
        )
    return descriptor


def through(descriptor: int) -> str:
    """Return a path to what is open, for this process and those that it starts. Nobody can change where it leads."""
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def is_own(path: str) -> bool:
    try:
        os.close(opened(path))
    except (ForeignSocketError, OSError):
        return False
    return True


def docker(path: str) -> list[str]:
    """Return the docker command for this engine. The descriptor stays open: until this process ends."""
    try:
        descriptor = opened(path)
    except OSError as error:
        raise SocketError(f"the engine at {path} does not answer: {error}. Is it running?") from error
    return ["docker", "--host", f"unix://{through(descriptor)}"]
