# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what an account's engine said of a container has the types that all else takes for granted."""

from __future__ import annotations

from typing import Any

LONGEST = 4096  # characters of a path, since programs of the host are searched for it
_TEXT = {"name", "image", "user"}
_TEXT_OR_NONE = {"project", "directory"}
_TEXTS = {"words", "image_environment", "privileged"}
_NUMBERS = {"memory": int, "shm_size": int, "cpus": float, "pids": int, "started": float}
_MOUNT = {"name", "source", "target"}


def checked(container: dict[str, Any]) -> dict[str, Any]:
    """The same; raises TypeError or ValueError."""
    texts = [container[key] for key in _TEXT]
    texts += [container[key] for key in _TEXT_OR_NONE if container[key] is not None]
    texts += [text for key in _TEXTS for text in _list(container[key])]
    texts += _list(container["command"] or [])
    texts += [text for pair in container["environment"].items() for text in pair]
    texts += [port["address"] for port in container["ports"]]
    texts += [mount[key] for mount in container["mounts"] for key in _MOUNT]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none")
    if any(len(container[key] or "") > LONGEST for key in _TEXT_OR_NONE):
        raise ValueError("a folder or a project has too long a name")
    "".join(texts).encode()  # JSON has halves of characters, which no file takes
    numbers = [(container[key], kind) for key, kind in _NUMBERS.items() if container[key] is not None]
    if any(not isinstance(number, kind) or isinstance(number, bool) for number, kind in numbers):
        raise TypeError("a number is none")
    if not all(0 < port[key] < 1 << 16 for port in container["ports"] for key in ("container", "host")):
        raise TypeError("a port is none")
    return container


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is none")
    return value
