# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in a container from a new image of a hub's users: run the smoke notebooks in its server. Usage: trial.py FILE.

The server's command is the real one, which needs a hub. The container has no network, so this answers in its place.
"""

from __future__ import annotations

import http.server
import json
import logging
import os
import sys
import threading
import time
from typing import Any

import kernel_client
import smoke
from jupyterhub import __version__ as version

PORT = 8888
HUB_PORT = 8081
LOOK_SECONDS = 0.5


class Hub(http.server.BaseHTTPRequestHandler):
    """What jupyterhub-singleuser asks of its hub: the version, whose a token is; and it reports activity."""

    def do_GET(self) -> None:
        mine = os.environ["JUPYTERHUB_API_TOKEN"]
        if not self.path.partition("?")[0].endswith("/user"):
            self.answer(200, {"version": version})
        elif self.headers.get("Authorization", "").split()[-1:] == [mine]:
            scopes = json.loads(os.environ["JUPYTERHUB_OAUTH_ACCESS_SCOPES"])
            user = os.environ["JUPYTERHUB_USER"]
            self.answer(200, {"kind": "user", "name": user, "admin": False, "groups": [], "scopes": scopes})
        else:
            self.answer(403, {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(200, {})

    def answer(self, status: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("X-JupyterHub-Version", version)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_unused: Any) -> None:
        pass


def wait(server: kernel_client.Server, api: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            server.json("GET", f"{api}kernels")
            return
        except (OSError, ValueError, kernel_client.Failure) as error:
            if time.monotonic() > end:
                raise kernel_client.Failure(f"its server did not answer within {seconds} s: {error}") from error
        time.sleep(LOOK_SECONDS)


def main(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        wanted = json.load(file)
    logging.disable(logging.WARNING)
    hub = http.server.ThreadingHTTPServer((kernel_client.HOST, HUB_PORT), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    server = kernel_client.Server(PORT, os.environ["JUPYTERHUB_API_TOKEN"])
    api = os.environ["JUPYTERHUB_SERVICE_PREFIX"] + "api/"
    wait(server, api, wanted["start_seconds"])
    smoke.run_all(server, api, wanted)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (kernel_client.Failure, OSError, KeyError, ValueError) as error:
        sys.exit(str(error))
