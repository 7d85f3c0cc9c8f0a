# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drill: restore a random user, or a random directory, from a random snapshot, compare, and start a server on it.

restic reads back what it wrote and compares it with its own hashes (--verify); we compare owners, modes, sizes and
names with the snapshot's list, and files with hashes that we took before the backup.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from . import database, placing, restore, shadow, targets
from .backup import is_database
from .commands import CommandError
from .disk import size
from .manifest import Manifest
from .restic import NO_REPOSITORY, WHOLE, ResticError
from .run import DONE, INCOMPLETE, BackupError, Run
from .snapshots import listed, ours, pick

RECENT = 10
MOST_TRIED = 10
MOST_NAMED = 20
MOST_COMPARED = 200_000  # files and folders, some 150 MB in memory; of more, as many are chosen at random


def drill(run: Run, snapshot: str | None, user: str | None = None, group: str | None = None) -> int:
    chosen = choice(run, listed(run), snapshot)
    manifest = restore.manifest_of(run, chosen["id"])
    dumped = manifest.database
    extra = [f"stage/database/{dumped}"] if dumped else []
    who, leaves = choose(run, chosen["id"], candidates(manifest, user, group), extra)
    paths = [f"instance/{leaf}" for leaf in leaves]
    run.step("drill", f"restore {who} from the snapshot {chosen['id'][:8]} of {chosen['time'][:19]}")
    placing.check_places(run, leaves)
    nodes, number = contents(run, chosen["id"], paths)
    restore.put_old_aside(run)
    samples = [each for each in manifest.samples if any(each["path"].startswith(f"{path}/") for path in paths)]
    try:
        with restore.fetched(run, chosen["id"], [*paths, *extra], "--verify", mark=shadow.MARK) as tree:
            if dumped:
                check_database(run, f"{tree}/stage/database", dumped)
            run.step("compare", f"compare {len(nodes)} files and directories")
            given = {"nodes": nodes, "samples": samples, "below": paths, "number": number}
            result = run.inside("compare", tree, given=given)
            if result["problems"]:
                raise BackupError("; ".join(map(str, result["problems"][:MOST_NAMED])))
            seen = show(run, manifest, tree, leaves, nodes)
    except (BackupError, CommandError) as error:
        raise BackupError(f"{who}, snapshot {chosen['id'][:8]}: {error}") from error
    for path in result["broken"][:MOST_NAMED]:
        run.step("compare", f"{path} is not a valid notebook, and was not when it was backed up")
    text = (
        f"{who} restored from {chosen['time'][:19]}: {found_as(result['files'], len(nodes))}, {result['compared']} of"
        f" them compared with hashes from before the backup, {result['notebooks']} notebooks"
        f"{', and the database' if dumped else ''}; {said(seen)}"
    )
    code = INCOMPLETE if run.state.entry["warnings"] else DONE
    run.state.finish("incomplete" if code else "done", text, code, snapshot=chosen["id"], of=who, server=seen)
    return code


def is_early(run: Run) -> bool:
    """Whether there is nothing to try: the first Sunday may come before the first backup."""
    if run.state.begun is not None or run.state.last("backup"):
        return False
    try:
        run.prepare()
        run.check_server()
        return not listed(run)
    except ResticError as error:
        return error.code == NO_REPOSITORY
    except (BackupError, CommandError, OSError, ValueError, KeyError):
        return False  # the drill says why
    finally:
        run.tidy()


def choice(run: Run, everything: Sequence[Mapping[str, Any]], snapshot: str | None) -> Mapping[str, Any]:
    """The SNAPSHOT that was named, or a random recent one of the series."""
    name = run.settings.name
    whole = [each for each in everything if each["of"] == WHOLE]
    if whole and run.state.begun is None:
        raise BackupError(
            f"the repository has backups of {name}, perhaps of a removed instance, and this one has neither made nor"
            f" restored any. Restore it (carrel-backup restore {name}), or begin a new series beside it (carrel-backup"
            f" run {name} --anew)"
        )
    if snapshot:
        return pick(everything, snapshot, [WHOLE], run.settings.host, run.state)
    recent = ours(whole, run.state, run.settings.host)[-RECENT:]
    if not recent and whole:
        raise BackupError(
            f"all {len(whole)} snapshots belong to another series, as before --anew. Make one of this series"
            f" (carrel-backup run {name}), or name the snapshot to try (--snapshot ID; carrel-backup snapshots {name}"
            " lists them)"
        )
    if not recent:
        raise BackupError(f"there is no snapshot yet; carrel-backup run {name} makes one")
    return random.choice(recent)  # noqa: S311 - no secret


def show(
    run: Run, manifest: Manifest, tree: str, leaves: Sequence[str], nodes: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """What a server on the restored files did; None if none was started."""
    place = shadow.first_of(leaves, nodes)
    if manifest.server is None or place is None:
        run.step("shadow", "the snapshot does not name its image, so no server is started")
        return None
    return shadow.look(run, manifest.server, tree, *place)


def found_as(files: int, compared: int) -> str:
    if compared >= files:
        return f"{files} files as in the snapshot"
    return f"{compared} files, chosen at random from {files}, as in the snapshot"


def said(seen: dict[str, Any] | None) -> str:
    if seen is None:
        return "no server was started on them"
    return (
        f"a server on them (jupyter_server {seen['version']}) accepted a log-in, listed {seen['shown']} names, returned"
        f" {seen['read']} files and ran the kernel {seen['kernel']}"
    )


def candidates(manifest: Manifest, user: str | None = None, group: str | None = None) -> list[tuple[str, list[str]]]:
    """Each user's directories, and each other directory with data, in random order; or only a user's or a group's."""
    leaves = [leaf for leaf in manifest.leaves if leaf.startswith("data/") and not is_database(leaf)]
    leaves = targets.chosen(leaves, user, group)
    people = sorted({user for leaf in leaves if (user := targets.user_of(leaf)) is not None})
    found = [(f"the user {user}", targets.chosen(leaves, user, None)) for user in people]
    found += [(leaf, [leaf]) for leaf in leaves if targets.user_of(leaf) is None]
    if not found:
        raise BackupError(f"the snapshot has no directory with data{f' of {user or group}' if user or group else ''}")
    return random.sample(found, len(found))


def choose(
    run: Run, snapshot: str, found: Sequence[tuple[str, list[str]]], extra: Sequence[str]
) -> tuple[str, list[str]]:
    """The first one that leaves enough space on the disk on which people work."""
    free = restore.room(run)
    for who, leaves in found[:MOST_TRIED]:
        needed = run.restic.size(snapshot, [*(f"instance/{leaf}" for leaf in leaves), *extra]).bytes
        if needed <= free:
            return who, leaves
        run.step(
            "drill", f"{who} needs {size(needed)}, but only {size(max(free, 0))} may be used: trying something else"
        )
    raise BackupError(
        f"nothing was tried: each of {min(len(found), MOST_TRIED)} directories needs more than the {size(max(free, 0))}"
        f" that may be used below {run.settings.directory}; free some space"
    )


def contents(run: Run, snapshot: str, paths: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """The snapshot's files below these paths, or as many as may be compared, and how many a restore makes.

    Each has the same chance (Vitter's algorithm R); the directories at these paths are always among them.
    """
    keys = ("path", "type", "uid", "gid", "mode", "size")
    wanted = tuple(f"/{path}" for path in paths)
    below = tuple(f"{path}/" for path in wanted)
    tops: list[dict[str, Any]] = []
    nodes: list[dict[str, Any]] = []
    number = 0

    def take(node: Mapping[str, Any]) -> None:
        nonlocal number
        kept = {key: node[key] for key in keys if key in node}
        if node["path"] in wanted:
            tops.append(kept)
        elif node["path"].startswith(below) and node["type"] != "socket":  # which restic does not restore
            number += 1
            if len(nodes) < MOST_COMPARED:
                nodes.append(kept)
            elif (place := random.randrange(number)) < MOST_COMPARED:  # noqa: S311 - no secret
                nodes[place] = kept

    run.restic.walk(snapshot, paths, take)
    return [*tops, *nodes], len(tops) + number


def check_database(run: Run, folder: str, dumped: str) -> None:
    run.step("database", "check the database")
    try:
        if dumped == database.SQLITE:
            run.inside("integrity", f"{folder}/{dumped}")
        else:
            database.drill_postgresql(run, f"{folder}/{dumped}")
    except CommandError as error:
        raise BackupError(f"the database: {error}") from error
