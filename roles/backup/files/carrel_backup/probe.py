# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a drill's container: probe.py CONFIG FILES. Logs in, lists and reads files, runs a kernel, prints results.

The image's own Python runs it: it uses only the standard library, of 3.8 or later.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
import time
import urllib.parse
from typing import Any

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # which Python leaves out with -I
from kernel_client import Failure, Server, kernel

START_SECONDS = 180
MOST_READ = 3
LONGEST_READ = 2**20
# What a server leaves out of a list (jupyter_server, ContentsManager.hide_globs).
UNLISTED = ("__pycache__", ".pyc", ".pyo", "~")


def wait(server: Server) -> str:
    """Return the version of the server, once it answers."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return str(server.json("GET", "/api")["version"])
        except (OSError, ValueError, KeyError, TypeError, Failure) as error:
            if time.monotonic() > end:
                raise Failure(f"it did not answer within {START_SECONDS} s: {error}") from error
            time.sleep(0.2)


def log_in(server: Server, token: str) -> None:
    """Log in with the form, as people do."""
    status, _unused = server.ask("GET", "/api/contents")
    if status < 400 and status not in (301, 302):
        raise Failure("it shows files to who is not logged in")
    server.ask("GET", "/login")
    form = {"password": token, "_xsrf": server.cookies.get("_xsrf", "")}
    status, _unused = server.ask("POST", "/login", urllib.parse.urlencode(form), "application/x-www-form-urlencoded")
    if status != 302:
        raise Failure(f"nobody can log in: the form's answer has status {status}")
    server.json("GET", "/api/contents?content=0")


def show(server: Server, folder: str) -> tuple[int, int]:
    """Compare the server's lists with the files; return how many names were compared and how many files were read."""
    names = [name for name in os.listdir(folder) if is_listed(folder, name)]
    listed = {each["name"] for each in server.json("GET", "/api/contents")["content"]}
    missing = sorted(set(names) - listed)
    if missing:
        raise Failure(f"it does not list {', '.join(map(ascii, missing[:5]))}")
    read = [name for name in sorted(names) if is_readable(folder, name)][:MOST_READ]
    for name in read:
        answer = server.json("GET", f"/api/contents/{urllib.parse.quote(name)}?type=file&format=base64")
        with open(os.path.join(folder, name), "rb") as file:
            if base64.b64decode(answer["content"]) != file.read():
                raise Failure(f"it returns different content for {name!a}")
    return len(names), len(read)


def is_listed(folder: str, name: str) -> bool:
    if name.startswith(".") or name.endswith(UNLISTED) or not name.isprintable():
        return False
    status = os.lstat(os.path.join(folder, name))
    return stat.S_ISREG(status.st_mode) or (stat.S_ISDIR(status.st_mode) and is_own(folder, status, 0o500))


def is_readable(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    status = os.lstat(path)
    own = stat.S_ISREG(status.st_mode) and is_own(folder, status, 0o400)
    return own and status.st_size <= LONGEST_READ and os.access(path, os.R_OK)


def is_own(folder: str, status: os.stat_result, bits: int) -> bool:
    """Whether the owner of the files may enter it. We may be root, while the server is that owner: it does not list
    folders that it may not enter."""
    return status.st_uid == os.stat(folder).st_uid and status.st_mode & bits == bits


def run_kernel(server: Server) -> str:
    """Start the usual kernel and have it compute; return its name."""
    with kernel(server, "/api/", None, time.monotonic() + START_SECONDS) as started:
        if started.run("1 + 1")["status"] != "ok":
            raise Failure("the kernel cannot compute 1 + 1")
        return started.name


def main(config: str, folder: str) -> dict[str, Any]:
    with open(config, encoding="utf-8") as file:
        wanted = json.load(file)["ServerApp"]
    server = Server(wanted["port"])
    version = wait(server)
    log_in(server, wanted["token"])
    shown, read = show(server, folder)
    return {"version": version, "shown": shown, "read": read, "kernel": run_kernel(server)}


if __name__ == "__main__":
    try:
        print(json.dumps(main(*sys.argv[1:])))
    except (Failure, OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"{error or type(error).__name__}")
