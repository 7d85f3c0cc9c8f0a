# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put restored directories in place in one step each. The old ones are moved aside, never deleted."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterable

from . import containers, owners, projects, targets
from .mount_ids import mount_id
from .run import BackupError, Run

KEPT = "data/.kept"


def kept_folder(run: Run) -> str:
    """Only root can enter it; makedirs would give this mode only to the last folder."""
    folder = f"{run.settings.directory}/{KEPT}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    return folder


def stamp() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def check_places(run: Run, leaves: Iterable[str]) -> None:
    """Refuse directories on a disk of their own: what a restore wrote cannot be renamed to there.

    Nor from there to where the old ones are kept.
    """
    directory = run.settings.directory
    here = mount_of(f"{directory}/data")
    for path in (KEPT, *leaves):
        if mount_of(f"{directory}/{path}") != here:
            raise BackupError(
                f"{directory}/{path} is on another mount than {directory}/data, so nothing can be put in place there in"
                f" one step: mount the disk at {directory}, with all that is in it"
            )


def mount_of(path: str) -> str:
    """The id of the mount that has a path, or else the directory above it."""
    try:
        descriptor = targets.opened(path, os.O_PATH)
    except OSError as error:
        if path == "/" or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
            raise
        return mount_of(os.path.dirname(path))
    try:
        return mount_id(descriptor)
    finally:
        os.close(descriptor)


def place_database(run: Run, tree: str) -> None:
    """Replace PostgreSQL's files, which may be on a disk of their own, while nothing else has been replaced."""
    path = f"{run.settings.directory}/{owners.POSTGRESQLS}"
    run.step("database", "put the database's files in place")
    before = os.lstat(path).st_ino if os.path.lexists(path) else None
    try:
        place(run, f"{tree}/instance/{owners.POSTGRESQLS}", owners.POSTGRESQLS)
    except (BackupError, OSError) as error:
        if before != (os.lstat(path).st_ino if os.path.lexists(path) else None):
            raise
        raise containers.UntouchedError(f"{path} was not replaced, and nothing was restored: {error}") from error


def place(run: Run, staged: str, leaf: str) -> None:
    """Replace a directory with the restored one in one step, and move the old one aside."""
    directory = run.settings.directory
    parent, name = os.path.split(leaf)
    source_parent, source_name = os.path.split(staged)
    above = make_parents(f"{directory}/{parent}")
    source = targets.opened(source_parent)
    try:
        if not stat.S_ISDIR(os.stat(source_name, dir_fd=source, follow_symlinks=False).st_mode):
            raise BackupError(f"{leaf} is not a directory in the snapshot")
        join_project(staged, f"{directory}/{parent}")
        try:
            targets.exchange(source, source_name, above, name)
        except FileNotFoundError:
            os.rename(source_name, name, src_dir_fd=source, dst_dir_fd=above)
            return
        kept = f"{kept_folder(run)}/{stamp()}/{parent}"
        os.makedirs(kept, exist_ok=True)
        aside = targets.opened(kept)
        try:
            os.rename(source_name, name, src_dir_fd=source, dst_dir_fd=aside)
        finally:
            os.close(aside)
        join_project(f"{kept}/{name}", kept)
    finally:
        os.close(source)
        os.close(above)


def join_project(path: str, above: str) -> None:
    """Move a file or directory into the quota of its new directory, and out of its old quota."""
    try:
        descriptor = targets.opened(path, os.O_RDONLY)
    except OSError as error:
        # It is a link or the like, which no quota counts, or the snapshot does not have it.
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENOENT):
            return
        raise
    try:
        directory = targets.opened(above)
        try:
            projects.follow(descriptor, directory)
        finally:
            os.close(directory)
    finally:
        os.close(descriptor)


def make_parents(path: str) -> int:
    """A descriptor of a directory of root's; a missing one is made with the owner and mode of the one above."""
    try:
        return targets.opened(path)
    except FileNotFoundError:
        above = make_parents(os.path.dirname(path))
    try:
        like = os.fstat(above)
        name = os.path.basename(path)
        os.mkdir(name, 0o700, dir_fd=above)
        descriptor = os.open(name, targets.DIRECTORY, dir_fd=above)
        os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
        return descriptor
    finally:
        os.close(above)
