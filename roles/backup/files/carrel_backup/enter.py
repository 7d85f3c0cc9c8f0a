# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a view of directories in a mount namespace, and run a command in it: enter.py VIEW PATH=NAME … -- COMMAND

People who can write in the directories could replace a directory with a link at the moment when the archiver reads it,
and so make it archive somebody else's files. In the view no link is followed, and nothing can be written.
"""

from __future__ import annotations

import os
import subprocess
import sys

# Recursive: otherwise a file system that is mounted below would be missing, or lack these flags.
OPTIONS = ",".join(["rbind", *(f"{name}=recursive" for name in ("ro", "nosuid", "nodev", "nosymfollow"))])


def main(arguments: list[str]) -> None:
    middle = arguments.index("--")
    view, shown, command = arguments[0], arguments[1:middle], arguments[middle + 1 :]
    previous = os.umask(0o022)
    os.makedirs(view, 0o711, exist_ok=True)
    for each in shown:
        path, _unused, name = each.rpartition("=")
        target = os.path.join(view, name)
        os.makedirs(target, 0o711, exist_ok=True)
        subprocess.run(["mount", "-o", OPTIONS, path, target], check=True)
    os.umask(previous)
    os.chdir(view)
    os.execvp(command[0], command)  # noqa: S606 - no shell


if __name__ == "__main__":
    main(sys.argv[1:])
