# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a lab's container: fail if the server shows another directory than the one that is kept.

Usage: notebooks.py DIRECTORY. An image's start command may have a root_dir of its own, and the command line goes before
every configuration (https://traitlets.readthedocs.io/en/stable/config.html). A server that left no file about itself
where its image's environment says passes.
"""

from __future__ import annotations

import glob
import json
import os
import sys


def shown(runtime_directory):
    """Return the directory that the server started last says it shows; None if none says."""
    files = glob.glob(os.path.join(glob.escape(runtime_directory), "jpserver-*.json"))
    if not files:
        return None
    with open(max(files, key=os.path.getmtime), encoding="utf-8") as file:
        return json.load(file).get("root_dir")


if __name__ == "__main__":
    from jupyter_core.paths import jupyter_runtime_dir

    kept, found = sys.argv[1], shown(jupyter_runtime_dir())
    if found is not None and os.path.realpath(found) != os.path.realpath(kept):
        sys.exit(
            f"the server shows {found}, but what is kept is {kept}: people's files would be lost. The image's command"
            f" sets root_dir; write notebooks: {found}, or a command that does not set it"
        )
