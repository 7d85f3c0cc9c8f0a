# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which directories of a mounts file a host really has, so that what somebody lost never waits for what others get."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils import _files as files

USERS = "users"


def text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _entries(content: Mapping[str, Any]) -> list[list[dict[str, str]]]:
    return [content["everyone"], *(group["mounts"] for group in content["groups"].values())]


def sources(content: Mapping[str, Any], path: str) -> set[str]:
    """Return the directories in PATH that are mounted, without those of users."""
    return {entry["source"] for entries in _entries(content) for entry in entries} - {f"{path}/{USERS}"}


def without(content: Mapping[str, Any], gone: set[str]) -> dict[str, Any]:
    """Return the same content without the mounts of these directories."""

    def kept(entries: Iterable[dict[str, str]]) -> list[dict[str, str]]:
        return [entry for entry in entries if entry["source"] not in gone]

    groups = {name: {**group, "mounts": kept(group["mounts"])} for name, group in content["groups"].items()}
    return {**content, "everyone": kept(content["everyone"]), "groups": groups}


def unusable(content: Mapping[str, Any], path: str) -> set[str]:
    """Return the directories in PATH that nobody can get: not there, links, or in a folder that is not root's."""
    return {source for source in sources(content, path) if not _usable(path, source)}


def _usable(path: str, source: str) -> bool:
    with contextlib.ExitStack() as stack:
        try:
            descriptor = files.open_directory(path)
            stack.callback(os.close, descriptor)
            for name in source[len(path) + 1 :].split("/"):
                if os.fstat(descriptor).st_uid != 0:
                    return False
                descriptor = os.open(name, files.DIRECTORY, dir_fd=descriptor)
                stack.callback(os.close, descriptor)
        except (files.UnsafePathError, FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno == errno.ELOOP:
                return False
            raise
    return True
