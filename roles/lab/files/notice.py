# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a container: announces a reset to its people, with a file among theirs and a line in each terminal.

Usage: notice.py add DIRECTORY, with the text on standard input; notice.py remove DIRECTORY.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys

NAME = "RESET-NOTICE.txt"
MARK = "This file is from carrel-reset and goes away by itself.\n"


def add(directory, text):
    """Write the file, but never overwrite somebody else's."""
    remove(directory)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(os.open(os.path.join(directory, NAME), flags, 0o644), "w", encoding="utf-8") as stream:
            stream.write(MARK + "\n" + text + "\n")
    except FileExistsError:
        print(f"there is a {NAME} that belongs to somebody else")


def remove(directory):
    """Remove only our own file."""
    path = os.path.join(directory, NAME)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # no file, or a link, which is not ours
        return
    with open(descriptor, "rb") as stream:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and stream.read(len(MARK)) == MARK.encode():
            os.unlink(path)


def terminals(text, folder="/dev/pts"):
    line = ("\r\n*** " + text.replace("\n", "\r\n") + "\r\n").encode()
    for name in filter(str.isdigit, os.listdir(folder) if os.path.isdir(folder) else []):
        with contextlib.suppress(OSError):
            descriptor = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                if os.isatty(descriptor):
                    os.write(descriptor, line)
            finally:
                os.close(descriptor)


if __name__ == "__main__":
    if sys.argv[1] == "add":
        notice = sys.stdin.read().strip()
        terminals(notice)
        add(sys.argv[2], notice)
    else:
        remove(sys.argv[2])
