# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a lab's container that has just started: fails unless the server runs as declared.

Usage: started.py BASE_URL NOTEBOOKS [PORT]. An image's start command may set another root_dir and token, and the
command line overrides every configuration. A server passes if it left no file about itself in the directory that its
image's environment names.
"""

from __future__ import annotations

import glob
import json
import os
import sys

import carrel_access
import healthcheck


def told(runtime_directory):
    """Return what the server that started last wrote about itself; nothing if there is no such file."""
    files = glob.glob(os.path.join(glob.escape(runtime_directory), "jpserver-*.json"))
    if not files:
        return {}
    with open(max(files, key=os.path.getmtime), encoding="utf-8") as file:
        return json.load(file)


def noted(runtime_directory):
    """Return what carrel_access.py wrote about the last server that loaded it; nothing if none did."""
    try:
        with open(os.path.join(runtime_directory, carrel_access.NOTE), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def complaint(server, note, notebooks, token):
    """Return what is wrong with the server; None if nothing is."""
    shown = server.get("root_dir")
    if shown is not None and os.path.realpath(shown) != os.path.realpath(notebooks):
        return (
            f"the server shows {shown}, but only {notebooks} is kept: people's files would be lost. The image's"
            f" command sets root_dir; write notebooks: {shown}, or a command that does not set it"
        )
    if server.get("token", token) != token:
        return (
            "the server accepts another token than the declared one: anybody who knows the image could log in. The"
            " image's command sets it; write a command that does not"
        )
    if server.get("pid") != note.get("pid"):
        return (
            "the server does not accept only the declared password or token: anybody who knows the image could log in."
            " The image's command sets identity_provider_class, login_handler_class or JUPYTER_CONFIG_PATH; write a"
            " command that does not"
        )
    return None


def main(base_url, notebooks, port=healthcheck.PORT):
    from jupyter_core.paths import jupyter_runtime_dir

    healthcheck.check_refuses(base_url, port)
    _password, token = carrel_access.declared()
    directory = jupyter_runtime_dir()
    if problem := complaint(told(directory), noted(directory), notebooks, token):
        sys.exit(problem)
    if token and (status := healthcheck.get(f"{base_url}api/status", port, token=token)[0]) != 200:
        sys.exit(f"the server answers with status {status} to the declared token")


if __name__ == "__main__":
    healthcheck.run(lambda: main(*sys.argv[1:3], *map(int, sys.argv[3:])))
