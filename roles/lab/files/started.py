# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a lab's container that has just started: fail unless the server is the one that was declared.

Usage: started.py BASE_URL NOTEBOOKS [PORT]. An image's start command may have a root_dir and a token of its own, and
the command line goes before every configuration. A server that left no file about itself where its image's environment
says passes.
"""

from __future__ import annotations

import glob
import json
import os
import sys

import healthcheck

CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jupyter_server_config.json")


def told(runtime_directory):
    """Return what the server that started last wrote about itself; nothing if none did."""
    files = glob.glob(os.path.join(glob.escape(runtime_directory), "jpserver-*.json"))
    if not files:
        return {}
    with open(max(files, key=os.path.getmtime), encoding="utf-8") as file:
        return json.load(file)


def complaint(server, notebooks, token):
    """Return what is wrong with the server; None if nothing is."""
    shown = server.get("root_dir")
    if shown is not None and os.path.realpath(shown) != os.path.realpath(notebooks):
        return (
            f"the server shows {shown}, but what is kept is {notebooks}: people's files would be lost. The image's"
            f" command sets root_dir; write notebooks: {shown}, or a command that does not set it"
        )
    if server.get("token", token) != token:
        return (
            "the server takes another token than the declared one: whoever knows the image could log in. The image's"
            " command sets it; write a command that does not"
        )
    return None


def main(base_url, notebooks, port=healthcheck.PORT):
    from jupyter_core.paths import jupyter_runtime_dir

    healthcheck.check_refuses(base_url, port)
    with open(CONFIG, encoding="utf-8") as file:
        token = json.load(file)["ServerApp"]["token"]
    if problem := complaint(told(jupyter_runtime_dir()), notebooks, token):
        sys.exit(problem)


if __name__ == "__main__":
    healthcheck.run(lambda: main(*sys.argv[1:3], *map(int, sys.argv[3:])))
