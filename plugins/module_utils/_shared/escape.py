# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user's name as the name of a directory: what DockerSpawner puts for {username}, so that both mean one directory.

DockerSpawner._escape: every byte but a-z and 0-9 becomes - and its hexadecimal digits. The result never begins with a
dot and has no slash. Control characters have one digit, so "\\x02d" would share the directory of "-":
`username_problem` refuses them, in the plan and at every log-in, and among the names that it lets pass no two share a
directory, a container, a network or a volume.
"""

from __future__ import annotations

import re
import string
import unicodedata
from urllib.parse import unquote

# A file's name has at most 255 bytes on Linux; an archived directory's has the time at its end.
LONGEST = 230
_SAFE = frozenset(string.ascii_lowercase + string.digits)
# Letters and marks that nobody sees, besides what Unicode calls format characters and spaces.
_BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)


def escape(name: str) -> str:
    """The same as DockerSpawner's own; tests/unit/test_escape.py holds them against each other."""
    return "".join(char if char in _SAFE else "".join(f"-{byte:x}" for byte in char.encode("utf-8")) for char in name)


def unescape(directory: str) -> str | None:
    """The name that escapes to this directory; None if none does."""
    text = re.sub(rb"-([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), directory.encode("utf-8", "replace"))
    try:
        name = text.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return name if name and escape(name) == directory else None


def _is_unseen(char: str) -> bool:
    return char in _BLANK or (unicodedata.category(char) in ("Cf", "Zs", "Zl", "Zp", "Co") and char != " ")


def visible(name: str) -> str:
    """The name as it looks."""
    return unicodedata.normalize("NFC", "".join(char for char in name if not _is_unseen(char)))


def hidden(name: str) -> str | None:
    """Why this name is not what it looks like; None if it is."""
    for char in name:
        if _is_unseen(char):
            said = "byte-order mark" if char == "\ufeff" else unicodedata.name(char, "unknown").lower()
            return f"has an invisible character in the name, U+{ord(char):04X} ({said}): remove it"
    for word in re.split(r"[-@._ ]", name):
        directions = {unicodedata.bidirectional(char) for char in word}
        if directions & {"R", "AL"} and "L" in directions:
            return "has a word that mixes letters from left to right with letters from right to left: use one kind"
    composed = unicodedata.normalize("NFC", name)
    if composed != name:
        return f"has accents as separate characters, which nobody types: write {composed!r} (Unicode's NFC)"
    return None


def username_problem(name: str) -> str | None:
    """Why JupyterHub has no user of this name, or why no directory can be made for it; None if it is valid.

    The rules are those of jupyterhub.auth.Authenticator: normalize_username and validate_username.
    """
    if not name:
        return "a user's name is empty"
    shown = ascii(name if len(name) <= 60 else name[:57] + "...")
    if any(ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000 for char in name):
        return f"the user {shown} has a character in the name that is not allowed"
    shown = repr(name if len(name) <= 60 else name[:57] + "...")
    unseen = hidden(name)
    if unseen:
        return f"the user {shown} {unseen}"
    if "/" in name:
        return f"the user {shown} has a slash in the name: JupyterHub has no such users"
    if set(unquote(name)) == {"."}:
        return f"the user {shown} would be a step in a path: JupyterHub has no such users"
    if name != name.lower():
        written = shown.lower() if name == name.strip() else repr(name.strip().lower())
        return f"the user {shown} is not in lower case, as JupyterHub knows its users: write {written}"
    if name != name.strip():
        return f"the user {shown} has a space at an end of the name: remove it"
    length = len(escape(name))
    if length > LONGEST:
        return f"the user {shown} has too long a name: its directory's would have {length} characters, {LONGEST} fit"
    return None
