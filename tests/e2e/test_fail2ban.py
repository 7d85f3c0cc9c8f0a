# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who guesses passwords can be found in the logs, and the documented filter of fail2ban finds them."""

from __future__ import annotations

import json
import re

import pytest

from .conftest import ROOT, Site, instances, run_on

# In 127.0.0.0/8, a host has any address that one likes.
GUESSES = """
import http.client, json, ssl, sys
for path, address in json.load(sys.stdin):
    context = ssl._create_unverified_context()
    server = http.client.HTTPSConnection("127.0.0.1", PORT, context=context, source_address=(address, 0), timeout=300)
    misleading = '" 200 "POST /login HTTP/1.1" 401'
    server.request("POST", path, "password=guess", {"Host": "localhost", "User-Agent": misleading})
    print(server.getresponse().status)
"""
# Unpacked only: installed, it would run.
GET = """
mkdir -p /tmp/fail2ban && cd /tmp/fail2ban
apt-get -q update && apt-get -q download fail2ban && dpkg -x fail2ban_*.deb .
"""
REGEX = "cd /tmp/fail2ban && PYTHONPATH=usr/lib/python3/dist-packages usr/bin/fail2ban-regex --config etc/fail2ban"


def documented_filter() -> str:
    (found,) = re.findall(
        r"```ini\n(\[Definition\]\n.*?)```", (ROOT / "docs" / "explanation" / "apache.md").read_text(), re.DOTALL
    )
    return str(found)


@pytest.mark.parametrize("name", ["tao", "class"])
def test_guesses_are_found(name: str) -> None:
    site: Site = instances()[name]
    hub = site.declared.get("kind") == "hub"
    path, port = re.fullmatch(r"https://localhost:?(\d*)(/.*)", site.url + ("hub/" if hub else "")).group(2, 1)
    guesses = [[f"{path}login", "127.0.0.66"], [f"{path}api", "127.0.0.67"]]
    program = GUESSES.replace("PORT", port or "443")
    statuses = run_on(site.host, "python3", "-c", program, input_text=json.dumps(guesses)).split()
    assert statuses[0] in ("401", "403")
    log = site.docker("logs", "class-hub-1" if hub else site.container_name(), "2>&1")
    assert "@127.0.0.66)" in log
    run_on(site.host, "sh", "-ec", GET)
    run_on(site.host, "tee", "/tmp/fail2ban/carrel.conf", input_text=documented_filter())
    found = run_on(site.host, "sh", "-c", f"{REGEX} -o ip /var/log/apache2/carrel_access.log ./carrel.conf").split()
    assert "127.0.0.66" in found and "127.0.0.67" not in found
