# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that the playbook adopt looks at: the real engine, which shows a test's own parts alone, and other folders."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from testbed.run import ROOT

SOCKET = "/var/run/docker.sock"
# A tmpfs holds what is written to /etc and /run.
NAMESPACE = """
set -e
mount -t tmpfs tmpfs /mnt
for place in etc run; do
  mkdir /mnt/$place /mnt/$place.work
  mount -t overlay overlay -o lowerdir=/$place,upperdir=/mnt/$place,workdir=/mnt/$place.work /$place
done
"""
LISTS = ("/containers/json", "/volumes")


class Handler(BaseHTTPRequestHandler):
    """Asks the real engine; lists have only what the filters let pass."""

    protocol_version = "HTTP/1.1"
    filters: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        self.ask("GET")

    def do_POST(self) -> None:
        self.ask("POST")

    def ask(self, method: str) -> None:
        path, body = self.path, self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path.startswith(LISTS):
            given = json.dumps({key: [value] for key, value in self.filters.items()})
            path += f"{'&' if '?' in path else '?'}filters={quote(given)}"
        engine = http.client.HTTPConnection("localhost")
        engine.sock = socket.socket(socket.AF_UNIX)
        engine.sock.connect(SOCKET)
        engine.request(method, path, body, {"Content-Type": "application/json"})
        answer = engine.getresponse()
        text = answer.read()
        self.send_response(answer.status)
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *given: object) -> None:
        pass

    def address_string(self) -> str:
        return "test"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextlib.contextmanager
def shown(path: Path, **filters: str) -> Iterator[None]:
    """At the socket PATH is an engine that shows only what FILTERS let pass."""
    with Server(str(path), type("Handler", (Handler,), {"filters": filters})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def playbook(world: Path, prepare: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook in a mount namespace of its own, once the shell has PREPAREd it. WORLD is its folder."""
    ansible = ["ansible-playbook", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    command = ["unshare", "--mount", "sh", "-c", f'{NAMESPACE}{prepare}exec "$@"\n', "sh", *ansible, *arguments]
    environment = {**os.environ, "WORLD": str(world), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    return subprocess.run(command, env=environment, cwd=world, capture_output=True, text=True, check=False)
