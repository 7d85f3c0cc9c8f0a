# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure directories and an engine's images. Notes say what was not measured."""

from __future__ import annotations

from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineAPI, EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import EndlessError, run
from ansible_collections.carrel.jupyter.plugins.module_utils._report import status

# du remembers every file with several names.
_GENTLY = ("nice", "-n", "19", "ionice", "-c", "3", "-t", "prlimit", f"--as={1 << 30}")


def directory_bytes(directory: str, seconds: float, notes: list[str]) -> int | None:
    command = [*_GENTLY, "du", "--summarize", "--one-file-system", "--block-size=1", directory]
    try:
        said = run(command, seconds).output
    except EndlessError:
        notes.append(f"{directory} was not measured within {seconds:.0f} s")
        return None
    # If a file disappears meanwhile, du reports an error, but still prints the sum.
    sums = said.split()
    if not sums:
        notes.append(f"{directory} could not be added up")
        return None
    return int(sums[0])


def images_bytes(socket: str, seconds: float, notes: list[str]) -> int | None:
    try:
        return status.bytes_of(EngineAPI(socket, seconds).call("GET", "/system/df?type=image"))
    except (EngineError, ValueError, LookupError, TypeError) as error:
        notes.append(f"the images were not measured: {error}")
        return None


def subdirectories_bytes(directory: str, seconds: float) -> dict[str, int]:
    """Return the size of each directory in DIRECTORY. Empty if this takes too long."""
    command = [*_GENTLY, "du", "--null", "--max-depth=1", "--one-file-system", "--block-size=1", directory]
    try:
        said = run(command, seconds).output
    except EndlessError:
        return {}
    sizes = (line.split("\t", 1) for line in said.split("\0") if "\t" in line)
    prefix = directory.rstrip("/") + "/"
    return {path.removeprefix(prefix): int(count) for count, path in sizes if path.startswith(prefix)}
