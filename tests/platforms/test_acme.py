# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates by ACME on a bare Debian 13, from Let's Encrypt's test server Pebble, with its DNS server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.action.plan import ControlFiles
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems

from testbed import __main__ as testbed
from testbed import hosts
from testbed.patience import PATIENCE, until
from tests.e2e.conftest import Playbook, ansible_playbook, run_on

HOST = "carrel-acme-1"
FOLDER = "/srv/acme"  # Apache has a /tmp of its own
BACKEND = 8097
DIRECTORY = "https://localhost:14000/dir"
# The host's own authorities are trusted besides the file, so this one is none of them.
PEBBLE_CA = f"{FOLDER}/pebble.crt"
OTHER_CA = "/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt"
# Unpacked only: both are single programs.
GET = f"""
mkdir -p {FOLDER}/user/ada && cd {FOLDER} && touch roots.pem
apt-get -q update && apt-get -q download pebble && dpkg -x pebble_*.deb .
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \\
    -addext subjectAltName=DNS:localhost -keyout pebble.key -out {PEBBLE_CA}
"""
PEBBLE = {
    "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000",
    "certificate": PEBBLE_CA, "privateKey": f"{FOLDER}/pebble.key", "httpPort": 80, "tlsPort": 443,
}  # fmt: skip
# It signs with a new authority after each start.
ROOT = f"""
import ssl, urllib.request
trust = ssl.create_default_context(cafile="{PEBBLE_CA}")
found = urllib.request.urlopen("https://localhost:15000/roots/0", context=trust).read().decode()
open("{FOLDER}/roots.pem", "a").write(found)
print(found)
"""
DNS_RECORDS = f"""#!/usr/bin/python3
import json, os, sys, urllib.request
print(*sys.argv[1:3], "as", os.getuid(), file=sys.stderr)
if os.path.exists("{FOLDER}/refuse"):
    sys.exit("the provider refused")
action, name, *text = sys.argv[1:]
record = {{"host": f"_acme-challenge.{{name}}.", "value": "".join(text)}}
path = {{"setup": "set-txt", "teardown": "clear-txt"}}[action]
urllib.request.urlopen(f"http://127.0.0.1:8055/{{path}}", json.dumps(record).encode())
"""
ASK = f"""
import http.client, json, socket, ssl, sys
trust, found = ssl.create_default_context(cafile="{FOLDER}/roots.pem"), {{}}
for name in sys.argv[1:]:
    plain = socket.create_connection(("127.0.0.1", 443), timeout={PATIENCE})
    try:
        connection = http.client.HTTPSConnection(name)
        connection.sock = trust.wrap_socket(plain, server_hostname=name)
        serial = connection.sock.getpeercert()["serialNumber"]
        connection.request("GET", "/user/ada/")
        found[name] = [serial, connection.getresponse().status]
    except ssl.SSLCertVerificationError:
        found[name] = [None, None]
print(json.dumps(found))
"""
TAO = {"name": "tao", "url": "https://tao.test/", "image": "lab:1"}
CLASS = {
    "name": "class", "kind": "hub", "url": "https://class.test/", "image": "lab:1", "users": ["ada"],
    "user_domains": True,
}  # fmt: skip
NAMES = ("tao.test", "class.test", "ada.class.test")


def start_pebble() -> None:
    settings = ("--setenv=PEBBLE_VA_NOSLEEP=1", "--setenv=PEBBLE_WFE_NONCEREJECT=0")
    program = (f"{FOLDER}/usr/bin/pebble", "-config", f"{FOLDER}/pebble.json", "-dnsserver", "127.0.0.1:8053")
    run_on(HOST, "systemd-run", "--quiet", "--unit=pebble", *settings, *program)
    until(lambda: run_on(HOST, "python3", "-c", ROOT, check=False), "Pebble answers")


def ask(*names: str) -> dict[str, tuple[str, int]]:
    """Serial number and status, by a handshake that trusts Pebble alone."""
    found = json.loads(run_on(HOST, "python3", "-c", ASK, *names))
    return {name: (serial, status) for name, (serial, status) in found.items()}


def served(*names: str) -> dict[str, tuple[str, int]]:
    """The same, once all are served: Apache's old processes end a moment after a reload."""
    until(lambda: all(status == 200 for _serial, status in ask(*names).values()), f"{', '.join(names)} are served")
    return ask(*names)


class Acme:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = {name: value for name, value in hosts.variables().items() if name.startswith("ansible_")}
        play = [{"hosts": HOST, "gather_facts": False, "roles": ["carrel.jupyter.apache"]}]
        (folder / "acme.yml").write_text(yaml.safe_dump(play))

    def apply(self, *entries: dict[str, Any], **variables: Any) -> Playbook:
        """Run the role with what the plan makes of these instances."""
        problems = Problems()
        plan = make_plan(Inputs(instances=list(entries), tls="acme"), ControlFiles("/"), problems)
        assert plan, problems.items
        vhosts = json.loads(json.dumps(plan["apache_vhosts"]))
        for location in (location for vhost in vhosts for location in vhost["locations"]):
            location.update(backend=f"http://127.0.0.1:{BACKEND}", second=None)
        mine = {
            **self.variables, "apache_vhosts": vhosts,
            "apache_acme_email": "admin@example.org", "apache_acme_agreement": True,
            "apache_acme_directory": DIRECTORY, "apache_acme_ca_file": PEBBLE_CA,
            "apache_acme_dns01_command": "/usr/local/bin/dns-records", "apache_acme_wait_seconds": PATIENCE,
            **variables,
        }  # fmt: skip
        return ansible_playbook(self.folder, {HOST: mine}, self.folder / "acme.yml")

    def refused(self, *entries: dict[str, Any], **variables: Any) -> str:
        run = self.apply(*entries, **variables)
        assert run.code
        return " ".join(run.output.split())


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acme]:
    try:
        testbed.up("acme", [HOST])
        run_on(HOST, "sh", "-ec", GET)
        run_on(HOST, "tee", f"{FOLDER}/pebble.json", input_text=json.dumps({"pebble": PEBBLE}))
        run_on(HOST, "tee", "/usr/local/bin/dns-records", input_text=DNS_RECORDS)
        run_on(HOST, "chmod", "755", "/usr/local/bin/dns-records")
        backend = ("python3", "-m", "http.server", str(BACKEND), "--bind", "127.0.0.1", "--directory", FOLDER)
        run_on(HOST, "systemd-run", "--quiet", "--unit=backend", *backend)
        off = [argument for name in ("http01", "https01", "tlsalpn01", "defaultIPv6") for argument in (f"-{name}", "")]
        dns = ("-dns01", "127.0.0.1:8053", "-management", "127.0.0.1:8055")
        run_on(HOST, "systemd-run", "--quiet", "--unit=dns", f"{FOLDER}/usr/bin/pebble-challtestsrv", *off, *dns)
        start_pebble()
        site = Acme(tmp_path_factory.mktemp("acme"))
        assert site.apply(TAO, CLASS).code == 0
        yield site
    finally:
        testbed.down("acme")


def log() -> str:
    return run_on(HOST, "cat", "/var/log/apache2/error.log")


def test_a_lab_gets_one_by_http_01_and_a_hub_by_dns_01(acme: Acme) -> None:
    found = served(*NAMES)
    assert found["class.test"] == found["ada.class.test"] != found["tao.test"]
    user = run_on(HOST, "id", "--user", "www-data").strip()
    assert f"setup class.test as {user}" in log() and f"teardown class.test as {user}" in log()
    assert "setup tao.test" not in log()
    again = acme.apply(TAO, CLASS)
    assert (again.code, again.changed) == (0, 0)


def test_a_run_without_success_says_why_and_the_next_one_tries_again(acme: Acme) -> None:
    before = served(*NAMES)
    other = {**CLASS, "name": "other", "url": "https://other.test/"}
    run_on(HOST, "touch", f"{FOLDER}/refuse")
    said = acme.refused(TAO, CLASS, other)
    assert (
        "other.test and *.other.test: no certificate." in said and "tao.test" not in said.partition("no certificate")[2]
    )
    assert "for what apache_acme_dns01_command printed" in said and "the provider refused" in log()
    assert ask(*NAMES) == before
    run_on(HOST, "rm", f"{FOLDER}/refuse")
    assert acme.apply(TAO, CLASS, other).code == 0
    assert served("other.test", "eve.other.test") and ask(*NAMES) == before

    geo = {**TAO, "name": "geo", "url": "https://geo.test/"}
    run_on(HOST, "systemctl", "stop", "pebble")
    said = acme.refused(TAO, CLASS, geo)
    assert f"Connection refused. This host must reach {DIRECTORY}" in said and ask(*NAMES) == before
    start_pebble()
    # Another name: mod_md may have tried again for geo before it had the wrong file.
    last = {**TAO, "name": "last", "url": "https://last.test/"}
    said = acme.refused(TAO, CLASS, geo, last, apache_acme_ca_file=OTHER_CA)
    assert "apache_acme_ca_file must have the issuer's certificate" in said and ask(*NAMES) == before
    said = acme.refused(TAO, CLASS, geo, last, apache_acme_ca_file="/etc/ssl/none.pem")
    assert "apache_acme_ca_file: /etc/ssl/none.pem has no certificate" in said and ask(*NAMES) == before
    assert acme.apply(TAO, CLASS, geo, last).code == 0
    assert served("geo.test", "last.test") and ask(*NAMES) == before


def test_a_renewed_certificate_is_loaded_by_itself(acme: Acme) -> None:
    """Of a new site: a Pebble that was started again does not know the others' certificates."""
    assert acme.apply(TAO, CLASS, {**TAO, "name": "soon", "url": "https://soon.test/"}).code == 0
    before = served("soon.test")
    window = "echo MDRenewWindow 3650d > /etc/apache2/conf-enabled/renew.conf && systemctl reload apache2"
    run_on(HOST, "sh", "-c", window)
    until(lambda: ask("soon.test") != before, "the certificate is renewed")
    assert served("soon.test")
