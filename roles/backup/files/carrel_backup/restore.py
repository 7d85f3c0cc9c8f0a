# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore: into a separate directory, then put in place in one step. The old files are moved aside, never deleted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from . import containers, credentials, database, images, owners, partial, placing, targets
from . import manifest as manifests
from .backup import MANIFEST, is_database
from .commands import CommandError
from .disk import size
from .inside import LONGEST_PATH, MISSING, REFUSED
from .manifest import Manifest
from .past import know_past
from .programs import EndlessError
from .restic import Message, ResticError
from .run import DONE, INCOMPLETE, BackupError, Run
from .settings import Settings
from .snapshots import label, listed, parsed, pick
from .wanted import Wanted, path_of, tags

OTHERS = "is of somebody else who had the name before"
ONE_PERSON = ": if both are one person, see docs/howto/leaving.md"
BESIDE = "data/.restoring"
MOVING = "move"  # the tree of a move to this host, beside those of restores
RESERVE = 20, 10 * 2**30  # space that stays free: a twentieth of the file system, but no more than this


def restore(run: Run, snapshot: str, wanted: Wanted) -> int:
    whole = wanted.user is None and wanted.group is None
    everything = listed(run)
    found = pick(everything, snapshot, tags(wanted), run.settings.host, run.state)
    manifest = manifest_of(run, found["id"])
    if whole and wanted.path is None:
        database.check_type(run, manifest.database_type)
    server = images.of_then(run, manifest.server) if wanted.image else None
    put_old_aside(run)
    if wanted.path is not None:
        restore_path(run, found, wanted, manifest)
    elif wanted.beside:
        raise BackupError("beside needs a file or folder: name it (--path)")
    else:
        chosen = targets.chosen(manifest.leaves, wanted.user, wanted.group)
        leaves = data_leaves(chosen, manifest.database)
        if not leaves:
            raise BackupError(f"the snapshot {found['id'][:8]} has nothing of {wanted.user or wanted.group}")
        restore_leaves(run, found, wanted, manifest, leaves)
        if whole:
            run.state.go_on(found["on"] or run.settings.host, found["series"])
            know_past(run.state, everything)
    if server is not None:
        images.use(run, server)
    complete = not run.state.entry["warnings"]
    text = f"restored from the snapshot {found['id'][:8]} of {found['time'][:19]}"
    if server is not None:
        text += f", with its image {server.image} ({server.id[7:19]}): run the site playbook, so that it is used"
    run.state.finish("done" if complete else "incomplete", text, DONE if complete else INCOMPLETE)
    return DONE if complete else INCOMPLETE


def manifest_of(run: Run, snapshot: str) -> Manifest:
    return manifests.read(run.restic.read("dump", snapshot, f"/{MANIFEST}"), run.settings.kind)


def make_beside(run: Run, mark: str = "") -> str:
    """A directory on the same file system, which only root and the account can enter."""
    beside = f"{run.settings.directory}/{BESIDE}/{placing.stamp()}{mark}"
    os.makedirs(beside, 0o711)
    run.own(f"{beside}/tree")
    return beside


def remove_beside(run: Run, beside: str) -> None:
    if os.path.isdir(f"{beside}/tree"):  # not of one that was killed at its start
        run.inside("empty", f"{beside}/tree")
        os.rmdir(f"{beside}/tree")
    os.rmdir(beside)


def put_old_aside(run: Run) -> None:
    """The rest of a killed restore may be the old files: keep it, too."""
    folder = f"{run.settings.directory}/{BESIDE}"
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name == MOVING and is_arriving(run.settings):
            continue
        kept = placing.kept_folder(run)
        os.rename(f"{folder}/{name}", f"{kept}/{name}-interrupted")
        run.warn(
            f"files of an interrupted restore were moved to {kept}/{name}-interrupted; remove them once you have"
            " checked them"
        )


def is_arriving(settings: Settings) -> bool:
    """Whether a move to this host has not ended. It has a lock of its own."""
    move = f"{os.path.dirname(settings.state_directory)}/move/move.json"
    return os.path.exists(move) and os.path.isdir(f"{settings.directory}/{BESIDE}/{MOVING}")


def room(run: Run) -> int:
    """How many bytes a restore may use on the file system of the instance's data, on which people work."""
    data = f"{run.settings.directory}/data"
    found = os.statvfs(data if os.path.isdir(data) else run.settings.directory)
    share, most = RESERVE
    return found.f_frsize * found.f_bavail - min(found.f_frsize * found.f_blocks // share, most)


def check_room(
    run: Run, snapshot: str, paths: Sequence[str], wanted: Wanted | None = None, tree: str | None = None
) -> None:
    """Refuse what cannot be written, unless it is WANTED nevertheless; None: nobody is asked, as in a move.

    A snapshot does not tell how much of a sparse file is used. Paths are longer in the TREE beside the instance.
    """
    beside = f"{tree or f'{run.settings.directory}/{BESIDE}/{placing.stamp()}/tree'}/"
    asked, wanted = wanted is not None, wanted or Wanted()
    advice = partial.ADVICE if asked else ""
    free = room(run)
    try:
        needed = run.restic.size(snapshot, paths, LONGEST_PATH - 1 - len(os.fsencode(beside)))
    except ResticError as error:
        if not wanted.accept_damaged:
            raise BackupError(f"the snapshot's list of files: {error}{advice}") from error
        run.warn(f"the size is not known, because the snapshot's list of files is damaged: {error}")
        return
    if needed.too_long and not wanted.accept_damaged:
        raise BackupError(
            f"{needed.too_long} paths are too long to be written below {beside}, such as {needed.example}{advice}"
        )
    if needed.bytes <= free:
        return
    text = (
        f"the restore needs {size(needed.bytes)}, but only {size(max(free, 0))} may be used below"
        f" {run.settings.directory}"
    )
    if wanted.accept_size:
        run.step("restore", f"{text}; accepted")
        return
    if not asked:
        raise BackupError(f"{text}: free some space")
    raise BackupError(
        f"{text}: free some space, or restore a part (--user, --path). The largest file is {needed.path} with"
        f" {size(needed.largest)}; if it is sparse or linked, it needs less: accept_size (--accept-size) restores it"
    )


@contextlib.contextmanager
def fetched(
    run: Run,
    snapshot: str,
    paths: Sequence[str],
    *options: str,
    mark: str = "",
    exchanged: bool = False,
    accept: bool | None = None,
) -> Iterator[str]:
    """Restore these paths of a snapshot into a separate tree, which is removed if that fails.

    EXCHANGED: once a part of it is in place, it holds the old files, and stays if the rest fails. By the MARK the next
    run finds a tree of one that was killed.
    """
    beside = make_beside(run, mark)
    try:
        fetch(run, snapshot, paths, f"{beside}/tree", *options, accept=accept)
    except (BackupError, ResticError, CommandError, OSError):
        remove_beside(run, beside)
        raise
    done = not exchanged
    try:
        yield f"{beside}/tree"
        done = True
    except containers.UntouchedError:
        done = True
        raise
    finally:
        if done:
            remove_beside(run, beside)


def fetch(run: Run, snapshot: str, paths: Sequence[str], tree: str, *options: str, accept: bool | None = None) -> None:
    """ACCEPT that some files are damaged in the repository, or have paths too long to be written; they are named.

    None: nobody is asked.
    """
    run.step("restore", f"restore {len(paths)} paths of the snapshot {snapshot[:8]}")
    patterns = f"{run.settings.run_directory}/paths.{os.getpid()}"
    include = [f"--include=/{literal(path)}" for path in paths]
    if len(paths) > 1:
        # directories with our own names: restic would expand $, and cut off spaces at the end of a line
        run.write(patterns, "".join(f"/{literal(path)}\n" for path in paths))
        include = [f"--include-file={patterns}"]
    try:
        answer = run.restic.call(
            "restore", snapshot, f"--target={tree}", *include, "--no-lock", "--sparse", *options,
            tell=guarded(run, run.progress), allowed=range(256),
        )  # fmt: skip
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(patterns)
    acceptable = partial.is_acceptable(answer)
    if acceptable and accept:
        partial.leave_out(run, answer, tree)
        return
    partial.refuse(answer, tree, partial.ADVICE if acceptable and accept is not None else "")


def guarded(run: Run, tell: Message, error: Exception | None = None) -> Message:
    """End restic if it leaves too little room to people: sparse files may be full, and others work meanwhile."""

    def take(status: Mapping[str, Any]) -> None:
        if room(run) < 0:
            raise error or EndlessError("left too little free space")
        tell(status)

    return take


def literal(path: str) -> str:
    """A pattern that matches only this path."""
    return "".join(f"\\{char}" if char in "\\*?[" else char for char in path)


def restore_path(run: Run, found: Mapping[str, Any], wanted: Wanted, manifest: Manifest) -> None:
    """Restore a file or folder of somebody's directory, in its place or in a new folder."""
    snapshot = found["id"]
    path = path_of(wanted)
    leaf = next((leaf for leaf in manifest.leaves if path.startswith(f"{leaf}/") and leaf.startswith("data/")), None)
    if leaf is None:
        raise BackupError(f"{path} is not a file or folder in a directory of the snapshot")
    theirs = owners.others(owners.recorded(run.settings), {}, parsed(found["time"]).timestamp(), begun=True)
    if targets.user_of(leaf) in theirs:
        raise BackupError(f"{path} in the snapshot {snapshot[:8]} {OTHERS}{ONE_PERSON}")
    placing.check_places(run, [leaf if wanted.beside else os.path.dirname(path)])
    check_room(run, snapshot, [f"instance/{path}"], wanted)
    place = f"{run.settings.directory}/{leaf}"
    with fetched(run, snapshot, [f"instance/{path}"], accept=wanted.accept_damaged) as tree:
        placing.join_project(tree, place)
        if wanted.beside:
            kept = run.inside("bring", tree, f"instance/{path}", place, label(found["time"]), given=False)
        else:
            below = path.removeprefix(f"{leaf}/")
            kept = run.inside("put", f"{tree}/instance/{path}", place, below, given=wanted.overwrite)
    if kept == MISSING:
        raise BackupError(f"the snapshot {snapshot[:8]} does not have {path}")
    if wanted.beside:
        run.step("place", f"it is in {leaf}/{kept}")
        return
    if kept == REFUSED:
        raise BackupError(f"{path} exists, and overwrite would move it aside")
    if kept:
        run.step("keep", f"the old one is {kept} beside it")


def restore_leaves(
    run: Run, found: Mapping[str, Any], wanted: Wanted, manifest: Manifest, leaves: Sequence[str]
) -> None:
    snapshot = found["id"]
    whole = wanted.user is None and wanted.group is None
    directory = run.settings.directory
    occupied = [leaf for leaf in leaves if is_occupied(f"{directory}/{leaf}")]
    if occupied and not wanted.overwrite:
        raise BackupError(
            f"{', '.join(occupied[:5])} has data, which overwrite would move aside to {directory}/{placing.KEPT}"
        )
    containers.refuse(containers.using(run, leaves, whole), wanted.stop)
    dumped = manifest.database if whole else None
    secrets = credentials.of(run.settings, manifest.leaves) if whole else {}
    paths = [*paths_of(leaves, dumped), *secrets]
    if dumped == database.POSTGRESQL:
        database.server(run)
    placing.check_places(run, leaves)
    check_room(run, snapshot, paths, wanted)
    present = owners.recorded(run.settings)
    with fetched(run, snapshot, paths, exchanged=True, accept=wanted.accept_damaged) as tree:
        take_sqlite(run, tree, dumped)
        moment, begun = parsed(found["time"]).timestamp(), run.state.begun is not None
        theirs = owners.others(present, credentials.record_in(tree), moment, begun)
        there, lacking = directories(tree, leaves, theirs)
        for text in lacking:
            run.warn(text)
        if leaves and not there:
            raise containers.UntouchedError(f"the snapshot {snapshot[:8]} has nothing of {', '.join(leaves[:5])}")
        with containers.resets_kept_out(run):
            try:
                containers.stop(run, leaves, whole, wanted.stop)
                folders = owners.folders_for(directory, tree, there, dumped) if theirs else []
                # Before the database: if this run is killed, a hub with the old users still deletes them.
                with owners.disowned(run, folders, theirs):
                    # first: if it fails, all is as it was
                    if dumped == database.POSTGRESQL:
                        load(run, f"{tree}/stage/database/{dumped}")
                    elif owners.POSTGRESQLS in there:
                        there.remove(owners.POSTGRESQLS)
                        placing.place_database(run, tree)
                run.step("place", f"put {len(there)} directories in place")
                for leaf in there:
                    placing.place(run, f"{tree}/instance/{leaf}", leaf)
                for staged, secret in secrets.items():
                    credentials.bring(run, f"{tree}/{staged}", secret, theirs)
            finally:
                containers.start(run)


def data_leaves(leaves: Sequence[str], dumped: str | None) -> list[str]:
    """The directories with data; a database with a dump is loaded from the dump."""
    return [leaf for leaf in leaves if leaf.startswith("data/") and not (dumped and is_database(leaf))]


def paths_of(leaves: Sequence[str], dumped: str | None) -> list[str]:
    """The paths of the instance's files and of the database's dump in a snapshot."""
    return [*(f"instance/{leaf}" for leaf in leaves), *([f"stage/database/{dumped}"] if dumped else [])]


def directories(
    tree: str, leaves: Sequence[str], theirs: Set[str], advice: str = "; an earlier one may have it (--snapshot)"
) -> tuple[list[str], list[str]]:
    """The directories that were restored into TREE, and what is to be said about the others.

    The list was made before restic read them: it may have excluded one, or not been allowed to read it.
    """
    found, lacking = list[str](), list[str]()
    for leaf in leaves:
        if targets.user_of(leaf) in theirs:
            lacking.append(f"{leaf} in the snapshot {OTHERS}, so it was not restored{ONE_PERSON}")
            continue
        try:
            os.close(targets.opened(f"{tree}/instance/{leaf}"))
            found.append(leaf)
        except FileNotFoundError:
            lacking.append(f"{leaf} is not in the snapshot, so it was not restored{advice}")
        except OSError:
            lacking.append(f"{leaf} is not a directory in the snapshot, so it was not restored: make it again by hand")
    return found, lacking


def take_sqlite(run: Run, tree: str, dumped: str | None) -> None:
    """Put a consistent copy of the database at the hub's path, in a tree that is not in place yet."""
    if dumped == database.SQLITE:
        try:
            run.inside("integrity", f"{tree}/stage/database/{dumped}")
        except CommandError as error:
            raise containers.UntouchedError(
                f"the database in the snapshot, so nothing was restored: {error}"
            ) from error
        run.inside("move", f"{tree}/stage/database/{dumped}", f"{tree}/instance/data/hub/{dumped}")


def is_occupied(path: str) -> bool:
    """Whether a restore would replace something."""
    try:
        descriptor = targets.opened(path)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True
    try:
        return bool(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def load(run: Run, dumped: str) -> None:
    """Load PostgreSQL's dump while the hub is stopped; it replaces the database's content."""
    server = database.server(run)
    run.step("database", "load the database's dump")
    try:
        run.docker("start", server)
        database.wait(run, server)
        database.load(run, server, dumped, database.USER, "--clean", "--if-exists")
    except (CommandError, OSError) as error:
        raise containers.UntouchedError(
            f"the database's dump was not loaded, and nothing was restored: {error}"
        ) from error
    finally:
        if server not in run.state.owed:  # of a hub that is held
            with contextlib.suppress(CommandError):
                run.docker("stop", server)
