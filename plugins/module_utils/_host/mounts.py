# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find which directories of a mounts file a host has, so that removals do not have to wait for additions."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.carrel.jupyter.plugins.module_utils._host import files
from ansible_collections.carrel.jupyter.plugins.module_utils._people.mounts_file import sources


def unusable(content: Mapping[str, Any], path: str) -> set[str]:
    """Return directories in PATH that cannot be mounted: missing ones, links, or in a folder that is not root's."""
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
