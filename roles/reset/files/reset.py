#!/usr/bin/python3
# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reset an instance: recreate its containers, so that everything outside of the mounted homes is new.

Usage: reset.py /srv/NAME/reset.json

Run by cron as the engine's account; run by root it becomes that account for good. Steps go to the journal
(journalctl -t carrel-reset), errors to standard error as well, which cron mails.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 another reset of this instance is running.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import subprocess
import sys
import syslog
from typing import Any

TIMEOUT_SECONDS = 3600


class ResetError(Exception):
    """A step failed; the text says which and how."""


def report(name: str, text: str, error: bool = False) -> None:
    """Write a line to the journal; an error goes to standard error as well."""
    syslog.syslog(syslog.LOG_ERR if error else syslog.LOG_INFO, f"{name}: {text}")
    if error:
        print(f"reset of {name}: {text}", file=sys.stderr)


def become(account: str) -> None:
    """Drop root for good."""
    entry = pwd.getpwnam(account)
    os.initgroups(account, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ.update(HOME=entry.pw_dir, USER=account, LOGNAME=account)


def docker(*arguments: str) -> None:
    """Run the docker command; on failure raise ResetError with its last lines."""
    command = f"docker {' '.join(arguments)}"
    try:
        done = subprocess.run(
            ["docker", *arguments], timeout=TIMEOUT_SECONDS, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ResetError(f"{command} did not end within {TIMEOUT_SECONDS} s") from error
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-10:])
        raise ResetError(f"{command} failed with exit code {done.returncode}:\n{tail}")


def reset(settings: dict[str, Any]) -> None:
    """Pull, down, up. A pull that fails is reported, and the image that is there is used."""
    name = settings["name"]
    compose = ["compose", "--project-directory", settings["directory"]]
    for file in settings["files"]:
        compose += ["--file", f"{settings['directory']}/{file}"]
    if settings["pull"]:
        try:
            docker("pull", "--quiet", settings["image"])
            report(name, f"pulled {settings['image']}")
        except ResetError as error:
            report(name, f"goes on with the image that is there: {error}", error=True)
    report(name, "down")
    docker(*compose, "down")
    report(name, "up")
    docker(*compose, "up", "--detach", "--wait")
    report(name, "done")


def main(arguments: list[str]) -> int:
    """Reset the instance of a settings file; return the exit code."""
    syslog.openlog("carrel-reset", syslog.LOG_PID, syslog.LOG_CRON)
    try:
        (path,) = arguments
        with open(path, encoding="utf-8") as stream:
            settings = json.load(stream)
        if os.geteuid() == 0:
            become(settings["account"])
        os.environ["DOCKER_HOST"] = f"unix:///run/user/{os.getuid()}/docker.sock"
        os.chdir(settings["directory"])
        lock = open(f"{settings['directory']}/compose.yaml", encoding="utf-8")  # noqa: SIM115 - held below
    except (ValueError, KeyError, OSError) as error:
        print(f"{__doc__}\n{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(settings["name"], "another reset is running", error=True)
            return 3
        try:
            reset(settings)
        except (ResetError, OSError) as error:
            report(settings["name"], str(error), error=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
