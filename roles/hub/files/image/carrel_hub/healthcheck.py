# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that the hub, its database, and Docker behind the socket answer: exit code 0 or 1, and one line."""

from __future__ import annotations

import http.client
import socket
import sys
import urllib.request

from .files import DIRECTORY, read_json

SOCKET = "/var/run/docker.sock"
SECONDS = 10


class _Docker(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(SOCKET)


def ask_hub() -> None:
    """Ask the hub for a page that needs the database, to look up the token. /hub/health does not need the database."""
    config, secrets = read_json(DIRECTORY / "config.json"), read_json(DIRECTORY / "secrets.json")
    url = f"http://127.0.0.1:8081{config['base_url']}hub/metrics"
    request = urllib.request.Request(url, headers={"Authorization": f"token {secrets['metrics_token']}"})
    with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
        response.read()


def ask_docker() -> None:
    connection = _Docker("localhost")
    try:
        connection.request("GET", "/_ping")
        response = connection.getresponse()
        if response.status != 200:
            raise OSError(f"it answers {response.status}")
    finally:
        connection.close()


def main() -> int:
    for what, ask in (("the hub or its database", ask_hub), ("Docker at " + SOCKET, ask_docker)):
        try:
            ask()
        except Exception as error:
            print(f"{what} does not answer: {error}")
            return 1
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
