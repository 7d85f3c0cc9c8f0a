# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of carrel-reset."""

from __future__ import annotations

import argparse
import datetime
import fcntl
import os
import sys

from . import account, claims, files, schedule
from .deployed import as_deployed
from .engine import Engine
from .hub import Hub
from .jobs import SettingsError
from .journal import Journal
from .lab import Lab
from .run import DONE, LOCKED, USAGE, Kind, Options, Run, reset
from .settings import Settings, load
from .state import State

DESCRIPTION = "Recreate an instance's containers, so that everything outside the mounted homes is new."
EPILOG = """\
Runs as the account of the instance's engine. If root starts it, it starts itself again as that account, without root's
terminal.
Steps go to the journal (journalctl -t carrel-reset) and to state.json below /var/lib/carrel/NAME/reset.

exit codes:
  0  done, or held and left alone
  1  failed; the instance runs as before
  2  wrong usage or settings
  3  another reset, a restore or a playbook is at work in the instance
  4  put off: people are at work, a playbook is running, or the command `before` asked for it
  5  failed, and the instance does not answer
"""


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "carrel-reset", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help="the instance")
    parser.add_argument("--scheduled", action="store_true", help="as cron starts it: early, for the set time")
    parser.add_argument("--people", choices=["wait", "skip", "ignore"], help="while people are at work (as set)")
    parser.add_argument("--no-pull", dest="pull", action="store_false", help="use the images that are there")
    parser.add_argument("--no-notice", dest="notice", action="store_false", help="tell nobody")
    parser.add_argument("--claimed", action="store_true", help="for the playbook that is changing the instance")
    return parser.parse_args(argv)


def set_time(settings: Settings, last: str | None) -> tuple[datetime.datetime, float] | None:
    """The set time for a start by cron, and the seconds until then; None: no reset is due."""
    now = datetime.datetime.now().astimezone()
    try:
        due = settings.at and schedule.due(now, settings.at, settings.timezone, settings.lead_seconds, last)
    except (ValueError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise SettingsError(f"at {settings.at!r} in the time zone {settings.timezone!r}: {error}") from error
    if not due:
        return None
    return due, min(max((due - now).total_seconds(), 0), settings.lead_seconds)


def main(argv: list[str]) -> int:
    """Reset an instance; return the exit code."""
    options = arguments(argv)
    when, lead = None, 0.0
    try:
        settings = load(options.name)
        if account.is_another(settings.account):
            return account.run(settings.account, argv)
        settings = as_deployed(settings)
        os.chdir("/")
        os.umask(0o022)
        if options.scheduled:
            # before the lock: a start without a due reset prints nothing
            due = set_time(settings, state_of(settings).last_scheduled)
            if due is None:
                return DONE
            when, lead = due
        lock = files.open_to_write(f"{settings.state_directory}/lock", os.O_CREAT)
    except (SettingsError, OSError) as error:
        print(f"carrel-reset: {error}", file=sys.stderr)
        return USAGE
    journal = Journal(settings.name)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        journal.error("begin", "another reset or a restore is running, or a docker command of one that was killed")
        return LOCKED
    if not options.claimed and (claimant := claims.claimant(settings.name)):
        journal.error("begin", f"{claimant} is changing the instance's containers")
        return LOCKED
    state = state_of(settings)
    state.begin(when.isoformat(timespec="seconds") if when else None)
    engine = Engine(settings.socket, settings.directory, settings.compose_files, lock)
    chosen = Options(
        options.people or settings.people, options.pull, options.notice, when, lead, claimed=options.claimed
    )
    run = Run(settings, chosen, engine, journal, state)
    kind: Kind = Lab(run) if settings.kind == "lab" else Hub(run)
    return reset(run, kind)


def state_of(settings: Settings) -> State:
    return State(f"{settings.state_directory}/state.json", settings.name, settings.kind)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
