# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""In place of GitHub, which is out of reach. Everybody is bob, a member of uni while there is /github/uni/bob."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class GitHub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        *_unused, organization, _members, name = self.path.split("/")
        if self.path == "/api/v3/user":
            self.reply(200, {"login": "Bob", "email": None})
        else:
            self.reply(204 if Path("/github", organization, name).exists() else 404, None)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(200, {"access_token": "of-bob", "token_type": "bearer", "scope": "read:org"})

    def reply(self, status: int, content: object) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 9000), GitHub).serve_forever()
