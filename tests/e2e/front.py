# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A site of the role apache in front of servers that say what they were asked, on the test inventory's first host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from testbed.patience import PATIENCE

from .conftest import ansible_playbook, hostvars, run_on

SERVER = "/etc/apache2/sites-available/carrel-server.conf"  # of the whole host
NAME, PORT, BACKEND = "front.test", 8098, 8097
# Answers with the headers that came; what the query says becomes the answer's status and cookies.
ECHO = f"""
import http.server, json, urllib.parse
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query, True)
        if "close" in query:  # as rootless Docker does before the container listens
            self.close_connection = True
            return
        body = json.dumps({{**self.headers, "path": self.path}}).encode()
        if "Upgrade" in self.headers:
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.close_connection = True
        else:
            self.send_response(int(query.get("status", ["200"])[0]))
            self.send_header("Content-Length", str(len(body)))
        for header in query.get("header", []):
            self.send_header(*header.split(": ", 1))
        for cookie in query.get("cookie", []):
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_DELETE = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", {BACKEND}), Echo).serve_forever()
"""
# One request after the other, each on a connection of its own: status, headers as pairs, body.
ASK = f"""
import http.client, json, sys
answers = []
for request in json.load(sys.stdin):
    connection = http.client.HTTPConnection("127.0.0.1", {PORT}, timeout={PATIENCE})
    headers = {{"Host": "{NAME}", **request["headers"]}}
    connection.request(request["method"], request["path"], headers=headers)
    answer = connection.getresponse()
    said = answer.fp.read() if answer.status == 101 else answer.read()
    answers.append([answer.status, answer.getheaders(), said.decode()])
print(json.dumps(answers))
"""


class Answer:
    def __init__(self, status: int, headers: list[list[str]], text: str) -> None:
        self.status, self.headers, self.text = status, headers, text

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def asked(self) -> dict[str, str]:
        """What came to the server behind."""
        found: dict[str, str] = json.loads(self.text)
        return found


class Front:
    def __init__(self, host: str) -> None:
        self.host = host

    def ask(self, *requests: dict[str, Any]) -> list[Answer]:
        text = json.dumps([{"method": "GET", "headers": {}, **request} for request in requests])
        return [Answer(*answer) for answer in json.loads(run_on(self.host, "python3", "-c", ASK, input_text=text))]

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        (answer,) = self.ask({"path": path, "method": method, "headers": headers})
        return answer


@contextmanager
def front(host: str, folder: Path, **variables: Any) -> Iterator[Front]:
    """Two instances: `upper` at / and, with the other way of passing websockets on, `lower` at /lower/."""
    backend = f"http://127.0.0.1:{BACKEND}"
    locations = [
        {"path": "/", "backend": backend, "instance": "upper"},
        {"path": "/lower/", "backend": backend, "instance": "lower", "websocket": "wstunnel"},
    ]
    mine = {
        **{name: value for name, value in hostvars()[host].items() if name.startswith("ansible_")},
        "apache_vhosts": [{"server_name": NAME, "port": PORT, "tls": {"mode": "none"}, "locations": locations}],
        "apache_prune": False,
        **variables,
    }
    play = [{"hosts": host, "gather_facts": False, "roles": ["carrel.jupyter.apache"]}]
    (folder / "front.yml").write_text(yaml.safe_dump(play))
    kept = run_on(host, "cat", SERVER)
    run_on(host, "systemd-run", "--quiet", "--unit=front", "python3", "-c", ECHO)
    try:
        done = ansible_playbook(folder, {host: mine}, str(folder / "front.yml"))
        assert done.code == 0, done.output
        yield Front(host)
    finally:
        gone = f"""cd /etc/apache2
            rm -f sites-*/carrel-{NAME}-{PORT}.conf
            sed -i '/Listen {PORT}/d' conf-available/carrel-listen.conf
            grep -q ^Listen conf-available/carrel-listen.conf || rm -f conf-*/carrel-listen.conf
            systemctl stop front
            systemctl reload apache2"""
        run_on(host, "tee", SERVER, input_text=kept)
        run_on(host, "sh", "-c", gone)
