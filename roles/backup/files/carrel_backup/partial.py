# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore that did not get everything: refused, or put in place without what is damaged, if that is accepted."""

from __future__ import annotations

from .restic import TOO_LONG, Answer, reason
from .run import BackupError, Run

MOST_SHOWN = 5
ADVICE = "; accept_damaged (--accept-damaged) restores the rest"
# Without these a restore would not know whose the rest is, or its database would be broken.
ESSENTIAL = ("instance/data/hub", "instance/data/database")
PEOPLE = "instance/data/"


def is_acceptable(answer: Answer) -> bool:
    """Whether some files failed, and restic came to its end. A full disk or a lost connection damages no file."""
    return bool(answer.errors and answer.summary) and not answer.full and not answer.broken


def refuse(answer: Answer, tree: str, advice: str = "") -> None:
    """Raise BackupError if restic did not restore everything."""
    if answer.errors:
        named = [f"{path}: {what}" for path, what in problems(answer, tree).items()]
        raise BackupError(f"{len(named)} could not be restored: {'; '.join(named[:MOST_SHOWN])}{advice}")
    if answer.code:
        raise BackupError(
            f"restic restore ended with exit code {answer.code}: {'; '.join(answer.said) or 'no reason given'}"
        )


def leave_out(run: Run, answer: Answer, tree: str) -> None:
    """Remove what is damaged from the restored tree, which is not in place yet, and name it.

    restic leaves a damaged file there, with its size and date, and zeros in place of the damaged parts.
    """
    found = problems(answer, tree)
    needed = next((path for path in found if is_essential(path)), None)
    if needed is not None:
        raise BackupError(
            f"{needed}: {found[needed]}. The rest cannot be put in place without it: restore an earlier snapshot"
            " (--snapshot), or parts (--user, --group, --path)"
        )
    if answer.unnamed > answer.long:
        raise BackupError(
            f"{len(found) + answer.unnamed} files are damaged, too many to be named: restore an earlier snapshot"
            " (--snapshot), or parts (--user, --group, --path)"
        )
    run.restic.snapshots()  # raises ResticError if the repository went away meanwhile
    links = run.inside("leave_out", tree, given=[path for path, what in found.items() if reason(what) != TOO_LONG])
    found |= dict.fromkeys(links, "it is a hard link of a damaged file")
    more = f", and {answer.long} more whose paths are too long" if answer.long else ""
    run.warn(f"{len(found)} files or folders were not restored, or not whole; the journal names them{more}")
    for path, what in found.items():
        run.warn(f"not restored: {path}: {what}")


def problems(answer: Answer, tree: str) -> dict[str, str]:
    """What is wrong first with each path below the tree."""
    found: dict[str, str] = {}
    for path, what in answer.errors:
        found.setdefault(path.removeprefix(f"{tree.lstrip('/')}/"), what)
    return found


def is_essential(path: str) -> bool:
    """Whether it is not a file of people's, or a folder above all of these.

    >>> is_essential("instance/data/users/ada/home/x"), is_essential("stage/database/x"), is_essential("instance/data")
    (False, True, True)
    """
    return not path.startswith(PEOPLE) or any(f"{path}/".startswith(f"{folder}/") for folder in ESSENTIAL)
