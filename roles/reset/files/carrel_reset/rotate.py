# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a container, as its root: exchanges the token and the cookie secret in the server's configuration.

Usage: rotate.py DIRECTORY. Standard input is an object with the new `token` and `cookie_secret`; missing or null ones
stay. Standard output is one with the old values. The files are overwritten in place: they keep their owner and mode.
"""

from __future__ import annotations

import json
import os
import sys


def overwrite(path: str, text: str) -> None:
    """Overwrite the file so that it is never empty."""
    data = text.encode()
    with open(path, "r+b", buffering=0) as stream:
        stream.write(data)
        stream.truncate(len(data))
        os.fsync(stream.fileno())


def exchange(directory: str, values: dict[str, str | None]) -> dict[str, str | None]:
    config_file = os.path.join(directory, "jupyter_server_config.json")
    secret_file = os.path.join(directory, "cookie_secret")
    with open(config_file, encoding="utf-8") as stream:
        config = json.load(stream)
    before: dict[str, str | None] = {"token": config["ServerApp"]["token"], "cookie_secret": None}
    if os.path.exists(secret_file):
        with open(secret_file, encoding="utf-8") as stream:
            before["cookie_secret"] = stream.read()
        if values.get("cookie_secret"):
            overwrite(secret_file, str(values["cookie_secret"]))
    if values.get("token"):
        for section in ("ServerApp", "IdentityProvider"):
            config[section]["token"] = values["token"]
        overwrite(config_file, json.dumps(config, indent=2, sort_keys=True) + "\n")
    return before


if __name__ == "__main__":
    print(json.dumps(exchange(sys.argv[1], json.load(sys.stdin))))
