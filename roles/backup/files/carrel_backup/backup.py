# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup: dump the database, write the manifest, take one snapshot, and then forget old ones."""

from __future__ import annotations

import contextlib
import datetime
import fnmatch
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from . import database, files, restic, targets
from . import images as of_images
from .commands import CommandError
from .disk import size
from .escape import escape
from .jobs import now
from .past import check_past
from .restic import TAG, WHOLE, Answer, ResticError, host_tag, series_tags
from .run import DONE, INCOMPLETE, BackupError, Run
from .snapshots import later, listed, parsed, utc

MOST_NAMED = 20
PRUNE_DAYS = 7
MANIFEST = "stage/manifest.json"
RETRY = "--retry-lock=2m"
# No pattern of the administrator's leaves these out: a restore needs them to know whose all else is.
ALWAYS = {
    "lab": ("stage", "instance/server", "instance/token"),
    "hub": ("stage", "instance/hub", "instance/data/hub"),
}


def backup(
    run: Run,
    user: str | None = None,
    group: str | None = None,
    anew: bool = False,
    brief: bool = False,
    accept: bool = False,
) -> int:
    """BRIEF: leave out what only drills and other hosts' backups need; for the repository of a move.

    ACCEPT that directories of earlier backups are not there any more.
    """
    record = run.record()
    whole = user is None and group is None
    leaves = run.leaves()
    chosen = targets.chosen(leaves, user, group)
    if not chosen:
        raise BackupError(f"{run.settings.name} has no directories of {user or group}")
    if not brief:
        check_past(run, anew)
    empty_stage(run)
    dumped, lost = None, list[str]()
    if whole:
        run.step("database", "dump the database")
        dumped = database.dump(run, record)
        lost = missing(run, leaves)
        if not accept:
            name_missing(run, lost, brief)
    run.step("manifest", "list the files, and take samples")
    write_manifest(run, record, chosen, dumped, brief)
    paths = [f"instance/{leaf}" for leaf in chosen if not (dumped and is_database(leaf))] + staged(run)
    run.step("snapshot", f"back up {len(chosen)} directories and files")
    answer = snapshot(run, paths, [*own_tags(run), WHOLE if whole else tag(user, group)], dumped, anew)
    name_unread(run, answer)
    if whole:
        remember(run, leaves if accept or brief else [*leaves, *lost])
        if not brief:
            forget(run, str(answer.summary.get("snapshot_id")))
    found = {
        "snapshot": answer.summary.get("snapshot_id"), "files": answer.summary.get("total_files_processed"),
        "bytes": answer.summary.get("total_bytes_processed"), "added_bytes": answer.summary.get("data_added_packed"),
    }  # fmt: skip
    complete = answer.code == 0 and not run.state.entry["warnings"]
    text = f"{found['files']} files, {told(found['bytes'])}, of which {told(found['added_bytes'])} are new"
    code = DONE if complete else INCOMPLETE
    run.state.finish("done" if complete else "incomplete", text, code, good=complete, **(found if whole else {}))
    return code


def own_tags(run: Run) -> list[str]:
    """The tags of this host's snapshots."""
    return [TAG, host_tag(run.settings.host), *series_tags(run.state.series)]


def tag(user: str | None, group: str | None) -> str:
    """The tag of a snapshot of a part; a comma would end it."""
    return f"user:{escape(user)}" if user is not None else f"group:{escape(group or '')}"


def told(number: object) -> str:
    """What restic said of bytes, if it said something."""
    return size(number) if isinstance(number, (int, float)) else "?"


def is_data(leaf: str) -> bool:
    return leaf.startswith("data/") and not is_database(leaf)


def is_database(leaf: str) -> bool:
    return any(fnmatch.fnmatchcase(leaf, pattern) for pattern in targets.DATABASES)


def empty_stage(run: Run) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(run.stage)
    for directory in (run.stage, f"{run.stage}/files"):
        os.mkdir(directory, 0o711)


def staged(run: Run) -> list[str]:
    return [f"stage/{name}" for name in sorted(os.listdir(run.stage))]


def write_manifest(run: Run, record: Mapping[str, Any], leaves: Sequence[str], dumped: str | None, brief: bool) -> None:
    """Record what restores and drills need to know, and what people may ask later."""
    state = os.path.dirname(run.settings.state_directory)
    for path in (f"{state}/instance.json", run.settings.token_file):
        if path and not path.startswith(f"{run.settings.directory}/") and os.path.lexists(path):
            try:
                run.write(f"{run.stage}/files/{os.path.basename(path)}", files.read(path))
            except OSError as error:
                run.warn(f"{path} is not in the backup: {error}")
    os.chown(f"{run.stage}/files", run.account.uid, run.account.gid)
    manifest = {
        "version": 1,
        "made": now(),
        "instance": record,
        "subuid": run.settings.subuid,
        "subgid": run.settings.subgid,
        "leaves": list(leaves),
        "users": {user: os.path.dirname(leaf) for leaf in leaves if (user := targets.user_of(leaf)) is not None},
        "database": dumped,
        "images": [] if brief else images(run),
        "server": None if brief else server(run),
        "samples": [] if brief else samples(run, [leaf for leaf in leaves if is_data(leaf)]),
    }
    run.write(f"{run.stage}/manifest.json", json.dumps(manifest))


def samples(run: Run, leaves: Sequence[str]) -> list[Any]:
    try:
        found: list[Any] = run.inside("samples", given=[f"instance/{leaf}" for leaf in leaves], seen=True)
    except CommandError as error:
        run.warn(f"no samples for the drill: {error}")
        return []
    return found


def images(run: Run) -> list[dict[str, Any]]:
    """The images of the instance's containers, with the registry's digests."""
    try:
        listed = run.containers(f"label=com.docker.compose.project={run.settings.name}", running=False)
        found = []
        for name in sorted({container["Image"] for container in listed}):
            (image,) = json.loads(run.docker("image", "inspect", name))
            found.append({"image": name, "id": image["Id"], "digests": image["RepoDigests"] or []})
        return found
    except (CommandError, ValueError, KeyError, TypeError) as error:
        run.warn(f"the manifest has no images: {error}")
        return []


def server(run: Run) -> dict[str, Any] | None:
    """Record what people's servers are made from, for a drill that starts one."""
    try:
        return of_images.recorded(run)
    except (CommandError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        run.step("manifest", f"no image of a server is known, so no drill can start one: {error}")
        return None


def missing(run: Run, leaves: Sequence[str]) -> list[str]:
    """The directories that earlier backups had and this one has not, such as those on a disk that is not mounted.

    restic does not report it. The site playbook itself may remove what is not data.
    """
    try:
        before = json.loads(files.read(f"{run.settings.state_directory}/leaves.json"))
    except (OSError, ValueError):
        return []
    archived = targets.archived(run.settings.directory)
    gone = set(before) - set(leaves)
    return sorted(leaf for leaf in gone if is_data(leaf) and targets.directory_of(leaf) not in archived)


def name_missing(run: Run, lost: Sequence[str], brief: bool) -> None:
    for leaf in lost[:MOST_NAMED]:
        run.warn(f"{leaf} was in an earlier backup and is not there any more")
    if len(lost) > MOST_NAMED:
        run.warn(f"{len(lost) - MOST_NAMED} more were in earlier backups and are not there any more")
    if lost and not brief:
        run.warn(f"if these are gone for good, accept that: carrel-backup run {run.settings.name} --accept-missing")


def remember(run: Run, leaves: Sequence[str]) -> None:
    path = f"{run.settings.state_directory}/leaves.json"
    with open(f"{path}.new", "w", encoding="ascii") as file:
        json.dump(leaves, file)
    os.rename(f"{path}.new", path)


def name_unread(run: Run, answer: Answer) -> None:
    for path, what in answer.errors[:MOST_NAMED]:
        run.warn(f"{path} could not be read: {what}")
    if len(answer.errors) > MOST_NAMED:
        run.warn(f"{len(answer.errors) - MOST_NAMED} more could not be read")
    if answer.code == restic.INCOMPLETE and not answer.errors:
        run.warn("restic could not read everything, and did not say what")


def snapshot(run: Run, paths: Sequence[str], tags: Sequence[str], dumped: str | None, anew: bool = False) -> Answer:
    """ANEW: make a new repository, though an earlier backup had one."""
    view = f"{run.settings.run_directory}/view"  # people may have folders of the same names
    # The last pattern that fits a path decides.
    excluded = [*run.settings.exclude, *(f"!{view}/{path}" for path in ALWAYS[run.settings.kind])]
    if dumped == database.SQLITE:
        excluded += [f"{view}/instance/{pattern}" for pattern in targets.DATABASES]
    arguments = [
        "backup", "--files-from-raw=-", f"--host={run.settings.name}", "--group-by=host,tags", RETRY,
        *(f"--tag={tag}" for tag in tags), *(f"--exclude={pattern}" for pattern in excluded),
    ]  # fmt: skip

    # After a killed prune nothing else gets a lock. This removes only locks of dead processes.
    with contextlib.suppress(ResticError):  # the backup itself reports problems of the repository better
        run.restic.call("unlock")

    def attempt() -> Answer:
        return run.restic.call(*arguments, paths=paths, tell=run.progress, allowed=(0, restic.INCOMPLETE))

    try:
        return attempt()
    except ResticError as error:
        if error.code != restic.NO_REPOSITORY:
            raise
        if run.state.last("backup").get("taken") and not anew:
            raise BackupError(
                f"{error}, though there was one: is a disk not mounted, or the address wrong? For a new one:"
                f" carrel-backup run {run.settings.name} --anew"
            ) from error
    run.step("snapshot", f"make the repository {run.settings.repository}")
    run.restic.call("init")
    return attempt()


def forget(run: Run, made: str) -> None:
    """Remove old snapshots, and their data once a week. MADE: the id of the one that this run has made."""
    keep = [f"--keep-{unit}={number}" for unit, number in sorted(run.settings.keep.items()) if number]
    if not keep:
        return
    path = f"{run.settings.state_directory}/pruned"
    prune = ["--prune"] if is_due(path) else []
    mine = f"--tag={','.join(own_tags(run))}"
    arguments = ["forget", mine, f"--host={run.settings.name}", "--group-by=tags", *keep, *prune]
    try:
        ahead = made_later(listed(run), made, run.settings.host, run.state.series, utc())
        if ahead:
            name_later(run, ahead)
            return
        if run.settings.append_only:
            return
        run.step("forget", "remove snapshots that are too old")
        run.restic.call(*arguments, RETRY)
    except ResticError as error:
        run.warn(f"old snapshots were not removed: {error}")
        return
    if prune:
        with open(path, "w", encoding="ascii") as file:
            file.write(now())


def made_later(
    snapshots: Sequence[Mapping[str, Any]], made: str, host: str, series: str | None, now: datetime.datetime
) -> list[str]:
    """The host's snapshots with later times than the one just MADE, by which a clock was wrong.

    restic keeps the latest, so it would remove the one just made, and all others of the right time.
    """
    found = [each for each in snapshots if each["series"] == series]
    moment = next((parsed(each["time"]) for each in found if each["id"] == made), now)
    return later(found, moment, [host])


def name_later(run: Run, ahead: Sequence[str]) -> None:
    named = " ".join(each[:8] for each in ahead[:MOST_NAMED])
    more = f" and {len(ahead) - MOST_NAMED} more" if len(ahead) > MOST_NAMED else ""
    run.warn(
        f"snapshots with later times than this one: {named}{more}. A clock was wrong, and no old snapshots are removed,"
        f" since those would stay in place of the right ones. If the clock of this host is right ({now()}), remove them"
        f" (restic forget {named}); if it is wrong, set it. See docs/howto/backup.md"
    )


def is_due(path: str) -> bool:
    try:
        last = datetime.datetime.fromisoformat(files.read(path).strip())
    except (OSError, ValueError):
        return True
    return abs(utc() - last) > datetime.timedelta(days=PRUNE_DAYS)  # a clock may have been ahead
