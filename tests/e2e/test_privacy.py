# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must not tell: Apache's own pages to containers, tokens to logs, versions to anybody."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests

from testbed.patience import PATIENCE

from .conftest import Site, run_on

PAGES = ("server-status", "server-status?auto", "server-info", "ldap-status", "balancer-manager", "test-status")
# An administrator's own page, where no list of names would look for it.
OWN_PAGE = '<Location "/test-status">\\n SetHandler server-status\\n Require local\\n</Location>\\n'
ASK = """
import socket, ssl, sys
for server, port, name, path in (line.split() for line in sys.stdin):
    connection = socket.create_connection((server, int(port)), 10)
    if port != "80":
        context = ssl._create_unverified_context()
        connection = context.wrap_socket(connection, server_hostname=name)
    connection.sendall(f"GET {path} HTTP/1.0\\r\\nHost: {name}\\r\\n\\r\\n".encode())
    answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode(errors="replace")
    told = any(word in answer for word in ("Server Status", "ServerVersion", "Server Information", "Load Balancer"))
    print(path, answer.split()[1], "TOLD" if told else "silent")
"""


def test_containers_see_no_page_of_apaches(tao: Site) -> None:
    """Their requests come from an address of the host itself, which passes `Require local`."""
    name, port = str(urlsplit(tao.url).hostname), urlsplit(tao.url).port or 443
    address = run_on(tao.host, "hostname", "-I").split()[0]
    lines = [
        f"{address} {to} {host} {path}{page}"
        for to, host in ((port, name), (80, name), (80, "unknown.test"))
        for path in ("/", "/atlas/", "//")
        for page in PAGES
        if host == name or page != "test-status"  # there it is the administrator's to serve
    ]
    run_on(tao.host, "sh", "-c", f"printf '{OWN_PAGE}' > /etc/apache2/conf-enabled/test-status.conf")
    try:
        run_on(tao.host, "systemctl", "reload", "apache2")
        with tao.lab().login(tao.secret) as lab:
            said = lab.run(f"import io, sys\nsys.stdin = io.StringIO({chr(10).join(lines)!r})\n{ASK}")
    finally:
        run_on(tao.host, "rm", "/etc/apache2/conf-enabled/test-status.conf")
        run_on(tao.host, "systemctl", "reload", "apache2")
    print(said)
    assert len(said.splitlines()) == len(lines) and "TOLD" not in said


def test_no_log_has_the_token_of_a_url(atlas: Site) -> None:
    token = atlas.secret
    with requests.Session() as http:
        http.verify, http.trust_env = atlas.ca, False
        http.headers["Referer"] = f"{atlas.url}lab?token={token}"
        for path in ("lab", "nowhere", "api/contents/nowhere", "files/nowhere", "api/kernels/nowhere/channels"):
            http.get(f"{atlas.url}{path}?token={token}", timeout=PATIENCE)
        http.post(f"{atlas.url}api/kernels?token={token}-wrong", timeout=PATIENCE)
        http.get(f"{atlas.url}api/contents/nowhere?%74oken={token}", timeout=PATIENCE)
        http.get(f"{atlas.url}%2e%2e/?token={token}", timeout=PATIENCE, headers={"Upgrade": "websocket"})
    logs = atlas.docker("logs", atlas.container_name(), "2>&1") + run_on(
        atlas.host, "sh", "-c", "cat /var/log/apache2/*.log; journalctl --no-pager --output=cat"
    )
    assert "api/contents/nowhere" in logs
    assert token not in logs


def test_answers_tell_no_version(site: Site) -> None:
    for path in ("api", "nowhere"):
        answer = requests.get(site.url + path, verify=site.ca, timeout=PATIENCE)
        assert answer.headers["Server"] == "Apache"
