# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of carrel-backup."""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from . import answer, commands, containers, drill, moving, printable, restore, shadow, trees
from .backup import backup
from .commands import CommandError
from .jobs import SettingsError
from .journal import Journal
from .restic import Restic, ResticError
from .run import DONE, FAILED, LOCKED, SHORT_SECONDS, USAGE, BackupError, Run
from .settings import Settings, load
from .snapshots import listed, pick
from .state import State, bring_back
from .wanted import Wanted, path_of, tags

DESCRIPTION = "Back up an instance, restore from its backups, and test restores."
EPILOG = """\
Root's part lists root's own directories. restic runs as the account of the instance's engine, in its map of ids.
Steps go to the journal (journalctl -t carrel-backup) and to state.json below /var/lib/carrel/NAME/backup.

exit codes:
  0  done
  1  failed
  2  wrong usage or settings
  3  a backup, restore or drill of the instance is running, or, for a drill, a move of it to this host
  4  done, but not all of it: the warnings name what is missing
"""


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "carrel-backup", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "snapshots", "restore", "drill", "folder", "answer"])
    parser.add_argument("name", metavar="NAME", help="the instance")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--user", help="only this user of a hub")
    whose.add_argument("--group", help="only this group of a hub")
    parser.add_argument("--snapshot", default="latest", help="id, time (2030-01-31, 2030-01-31T12:00), or latest")
    parser.add_argument(
        "--path",
        help="restore this file or folder: with --user, relative to the user's home, with --group to the group's "
        "folder; otherwise, for example, data/notebooks/FILE",
    )
    parser.add_argument("--overwrite", action="store_true", help="move existing files aside")
    parser.add_argument(
        "--beside", action="store_true", help="restore into a new folder restored-DATE; touch nothing else"
    )
    parser.add_argument(
        "--accept-damaged",
        action="store_true",
        help="restore: leave out damaged files, and paths that are too long",
    )
    parser.add_argument(
        "--accept-size",
        action="store_true",
        help="restore: begin without enough room: files are sparse or linked",
    )
    parser.add_argument("--stop", action="store_true", help="stop containers that use the files")
    parser.add_argument("--image", action="store_true", help="restore: a whole instance with the image of that time")
    parser.add_argument(
        "--anew", action="store_true", help="run: begin a new series, beside other backups or in a new repository"
    )
    parser.add_argument(
        "--accept-missing", action="store_true", help="run: directories of earlier backups are gone for good"
    )
    parser.add_argument("--json", action="store_true", help="snapshots as JSON")
    options = parser.parse_args(argv)
    if options.image and (options.command != "restore" or options.user or options.group or options.path):
        parser.error("--image is for the restore of a whole instance")
    if options.accept_missing and (options.command != "run" or options.user or options.group):
        parser.error("--accept-missing is for the backup of a whole instance")
    if (options.accept_damaged or options.accept_size) and options.command != "restore":
        parser.error("--accept-damaged and --accept-size are for restores")
    return options


def main(argv: list[str]) -> int:
    """Run the command; return the exit code."""
    if argv[:1] == ["move"] and len(argv) == 2:  # only for the module instance_move
        return moving.main(argv[1])
    options = arguments(argv)
    try:
        if os.geteuid() != 0:
            raise SettingsError("run it as root")
        os.umask(0o022)
        settings = load(options.name)
        account = commands.account_of(settings)
        os.makedirs(settings.state_directory, 0o711, exist_ok=True)
        if options.command == "answer":  # also while other commands run
            return answer.main(settings, account)
        lock = os.open(f"{settings.state_directory}/lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except (SettingsError, OSError) as error:
        print(f"carrel-backup: {error}", file=sys.stderr)
        return USAGE
    if options.command in ("snapshots", "folder"):
        return look(settings, account, options)
    what = {"run": "backup"}.get(options.command, options.command)
    journal = Journal(settings.name, what, "carrel-backup")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        journal.error("begin", "a backup, restore or drill of it is running")
        return LOCKED
    if what == "drill" and restore.is_arriving(settings):
        journal.error(
            "begin",
            "a move of it to this host has not ended: run the playbook move again, or give the move up by removing"
            f" {os.path.dirname(settings.state_directory)}/move",
        )
        return LOCKED
    try:
        bring_back(settings.directory, settings.state_directory)
    except OSError as error:
        journal.error("begin", f"the state of its backups in the archive that is back: {error}")
        return FAILED
    state = State(f"{settings.state_directory}/state.json", settings.name)
    run = Run(settings, account, Restic(settings, account, lock), journal, state, lock)
    named = options.user or options.group or options.snapshot != "latest"
    if what == "drill" and not named and drill.is_early(run):
        journal.info("end", "there is no backup yet, so there is nothing to try")
        return DONE
    return act(run, what, options)


def act(run: Run, what: str, options: argparse.Namespace) -> int:
    whose = f"user {options.user}" if options.user else f"group {options.group}" if options.group else "all"
    run.state.begin(what, whose if not options.path else f"{whose}: {options.path}")
    if run.state.interrupted:
        run.journal.info("begin", f"the last {run.state.interrupted} was interrupted")
    code = FAILED
    try:
        containers.start(run)  # first: what follows needs space on the disk
        run.prepare()
        if run.settings.local:
            run.state.note_repository(run.settings.repository)
        shadow.clear(run)
        run.check_server()
        run.check_restic()
        if what == "backup":
            code = backup(run, options.user, options.group, options.anew, accept=options.accept_missing)
        elif what == "restore":
            wanted = Wanted(
                options.user,
                options.group,
                options.path,
                options.overwrite,
                options.stop,
                options.image,
                options.beside,
                options.accept_damaged,
                options.accept_size,
            )
            code = restore.restore(run, options.snapshot, wanted)
        else:
            chosen = options.snapshot if options.snapshot != "latest" else None
            code = drill.drill(run, chosen, options.user, options.group)
    except (BackupError, CommandError, ResticError, OSError, ValueError, KeyError) as error:
        text = str(error) if not isinstance(error, KeyError) else f"{error} is missing"
        run.state.finish("failed", text, FAILED)
    finally:
        run.tidy()
    entry = run.state.entry
    say = run.journal.error if code == FAILED else run.journal.info
    say("end", f"{entry['result']}: {entry['message']} ({entry['seconds']} s)")
    if run.state.trouble:
        run.journal.warning("end", run.state.trouble)
    return code


def look(settings: Settings, account: commands.Account, options: argparse.Namespace) -> int:
    """List snapshots, or a folder of one. This needs no lock, and waits for nobody."""
    settings = dataclasses.replace(settings, deadline_seconds=min(SHORT_SECONDS, settings.deadline_seconds))
    state = State(f"{settings.state_directory}/state.json", settings.name)
    run = Run(settings, account, Restic(settings, account), Journal(settings.name, "list"), state, -1)
    try:
        run.prepare()
        run.check_server()
        if options.command == "folder":
            lines = folder(run, options)
        elif options.json:
            lines = [json.dumps(listed(run))]
        else:
            lines = [snapshot_line(each) for each in listed(run)]
    except (BackupError, ResticError, OSError, ValueError, trees.MissingError) as error:
        print(f"carrel-backup: {error}", file=sys.stderr)
        return FAILED
    finally:
        run.tidy()
    for line in lines:
        print(printable.text(line))  # the account can write tags, and people file names
    return DONE


def folder(run: Run, options: argparse.Namespace) -> list[str]:
    """List a folder of a snapshot; without --path, all directories of the user, the group or the instance."""
    wanted = Wanted(options.user, options.group, options.path or "")
    found = pick(listed(run), options.snapshot, tags(wanted), run.settings.host, run.state)
    path = path_of(wanted)
    entries = trees.folder(run.restic, found["id"], ["instance", *path.split("/")] if path else ["instance"])
    if options.json:
        return [json.dumps(entries)]
    return [
        f"{each['size']:>15}  {each['modified']}  {printable.line(each['name'])}{'/' * (each['type'] == 'dir')}"
        for each in entries
    ]


def snapshot_line(each: Mapping[str, Any]) -> str:
    sizes = f"{each['files']:>9} files {each['bytes']:>15} bytes {each['added_bytes']:>13} new"
    return f"{each['id'][:8]}  {each['time'][:19]}  {each['of']:20} {each['on'] or '?':12} {sizes}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
