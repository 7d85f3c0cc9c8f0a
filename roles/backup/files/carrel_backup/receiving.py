# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a move on the new host."""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
from collections.abc import Set
from typing import Any

from . import containers, credentials, database, files, owners, placing, restore
from .run import BackupError, Run
from .snapshots import listed
from .transfer import TAR, Move, as_account, backups_of, let_go, stop, write, write_record


def receive(move: Move) -> dict[str, Any]:
    """Receive new files of the repository, and update the tree beside the instance to a snapshot."""
    run = move.run
    with open(move.given["pack"], "rb") as file:
        as_account(run, *TAR, "--extract", "--no-same-owner", "--no-same-permissions", stdin=file.fileno())
    if move.given["more"]:
        return {}
    os.makedirs(os.path.dirname(move.tree), 0o711, exist_ok=True)
    run.own(move.tree)
    snapshot = move.given["snapshot"]
    manifest = restore.manifest_of(run, snapshot)
    dumped = manifest.database
    leaves = restore.data_leaves(manifest.leaves, dumped)
    secrets = credentials.of(run.settings, manifest.leaves)
    paths = restore.paths_of(leaves, dumped)
    placing.check_places(run, leaves)
    # A failed try has moved this directory's content into place, so it is restored again.
    missing = [path for path in paths if not os.path.lexists(f"{move.tree}/{path}")]
    if missing:
        restore.check_room(run, snapshot, missing, tree=move.tree)
    restore.fetch(run, snapshot, [*paths, *secrets], move.tree, "--delete", f"--overwrite={prepare_tree(move)}")
    # The old host's inventory may have been an older one.
    theirs = owners.others(owners.recorded(run.settings), credentials.record_in(move.tree), math.inf, begun=False)
    there, lacking = restore.directories(move.tree, leaves, theirs, advice="")
    series = next((each["series"] for each in listed(run) if each["id"] == snapshot), None)
    received = {"snapshot": snapshot, "leaves": there, "database": dumped, "series": series}
    write(f"{run.settings.state_directory}/received.json", json.dumps(received))
    for staged, path in secrets.items():
        if os.path.lexists(f"{move.tree}/{staged}"):
            put_secret(run, f"{move.tree}/{staged}", path, theirs)
    if run.settings.kind == "hub":
        like_the_role(f"{move.directory}/hub", run.account.gid)
    if move.given["place"]:
        for text in lacking:
            run.warn(text)
        database.check_type(run, manifest.database_type)
        with containers.resets_kept_out(run):
            place(move)
    return {"warnings": run.state.entry["warnings"]}


def prepare_tree(move: Move) -> str:
    """How restic decides which files of the tree it must restore.

    By size and time it would miss a file that was rewritten with both as before, as rsync and tar do. So such files
    are removed first. If a restore into the tree did not end, restic compares all content.
    """
    run, path = move.run, f"{move.run.settings.state_directory}/received.json"
    if not os.path.exists(path):
        return "always"
    before = last_received(move).get("snapshot")
    os.unlink(path)
    if before is None:
        return "always"
    if before != move.given["snapshot"]:
        run.inside("remove", move.tree, given=run.restic.rewritten(before, move.given["snapshot"]))
    return "if-changed"


def put_secret(run: Run, staged: str, path: str, theirs: Set[str] = frozenset()) -> None:
    """Write what signs people's cookies, and whose names are, before the instance is set up, so that it uses them."""
    os.close(placing.make_parents(os.path.dirname(path)))
    if path.endswith(f"/{owners.RECORD}"):
        credentials.bring_record(run, staged, begun=False, theirs=theirs)
        return
    text, status = credentials.read(staged)
    if path.endswith(f"/{credentials.SERVER}") and os.path.lexists(path):  # of the lab, set up meanwhile
        text = credentials.signed(files.read(path), text, credentials.TOKEN + credentials.PASSWORD)
    credentials.write(path, text, (status.st_uid, status.st_gid), stat.S_IMODE(status.st_mode) & 0o600)


def like_the_role(path: str, group: int) -> None:
    """Give root's directory, which was made for the secrets, the group and mode that the role hub expects."""
    descriptor = placing.make_parents(path)
    try:
        os.fchown(descriptor, 0, group)
        os.fchmod(descriptor, 0o750)
    finally:
        os.close(descriptor)


def pause(move: Move) -> dict[str, Any]:
    """Stop the new host's containers, now that they have run. No reset starts them until the move ends."""
    stop(move)
    content = {**move.run.record(), "state": "held"}
    content.pop("moved_from", None)
    write_record(move, content)
    return {}


def place(move: Move) -> None:
    """Put the received files in place, and start the instance."""
    run = move.run
    stop(move)
    # Before the old host forwards requests: the site playbook must not take down what its inventory does not have yet.
    begun = json.loads(files.read(f"{run.settings.state_directory}/move.json"))
    write_record(move, {**run.record(), "moved_from": begun["from"]})
    received = last_received(move)
    dumped = received["database"]
    restore.take_sqlite(run, move.tree, dumped)
    if dumped == database.POSTGRESQL:
        restore.load(run, f"{move.tree}/stage/database/{dumped}")
    run.step("place", f"put {len(received['leaves'])} directories in place")
    for leaf in received["leaves"]:
        placing.place(run, f"{move.tree}/instance/{leaf}", leaf)
    containers.start(run)
    if run.state.owed:
        raise BackupError(
            f"{', '.join(run.state.owed.values())} did not start: {'; '.join(run.state.entry['warnings'])}"
        )
    let_go(move)


def settle(move: Move) -> dict[str, Any]:
    """Record that the instance, with its backups, belongs to this host now.

    A move that has ended may be run again. Its files are gone by then, and the backups go on already.
    """
    content = {**move.run.record(), "state": "present", "moved_from": move.given["from"]}
    content.pop("moved_to", None)
    write_record(move, content)
    with contextlib.suppress(FileNotFoundError):
        series = last_received(move).get("series")
        state = backups_of(move.run)
        os.makedirs(os.path.dirname(state.path), 0o711, exist_ok=True)
        state.go_on(move.given["from"], series)
    return {}


def last_received(move: Move) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files.read(f"{move.run.settings.state_directory}/received.json"))
    return found
