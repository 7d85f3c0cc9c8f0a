# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apache in front of the instances, and what it survives."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from testbed.patience import PATIENCE

from .conftest import INVENTORY, ROOT, Site, hostvars, instances, run_on

MISMATCH = """
set -e; cd /etc/ssl/private
for name in one two; do
    openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=bad.test -days 1 -keyout $name.key -out $name.crt 2>/dev/null
done
"""
ASK_PORT_80 = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", 80)
connection.request("GET", sys.argv[2], headers={"Host": sys.argv[1]})
answer = connection.getresponse()
print(answer.status, answer.headers["Location"])
"""
BAD_PAIR = """<VirtualHost *:443>
    ServerName bad.test
    SSLEngine on
    SSLCertificateFile /etc/ssl/private/one.crt
    SSLCertificateKeyFile /etc/ssl/private/two.key
</VirtualHost>
"""


def get(site: Site, path: str, **headers: str) -> requests.Response:
    url = "{0.scheme}://{0.netloc}".format(urlsplit(site.url)) + path
    return requests.get(url, headers=headers, verify=site.ca, timeout=PATIENCE, allow_redirects=False)


def apache_sites(host: str, **parameters: Any) -> str:
    command = ["ansible", host, "-i", INVENTORY, "-m", "carrel.jupyter.apache_sites", "-a", json.dumps(parameters)]
    environment = {**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False).stdout


def configuration(host: str) -> str:
    find = (
        "cd /etc/apache2 && find . -path ./md -prune -o -type l -printf '%p %l\\n' -o -type f -exec md5sum {} + | sort"
    )
    return run_on(host, "sh", "-c", find)


def sites_of(host: str) -> list[Site]:
    return [site for site in instances().values() if site.host == host]


def answers(host: str) -> bool:
    found = [site for site in sites_of(host) if site.declared.get("state", "present") == "present"]
    return bool(found) and all(requests.get(site.url + site.api, verify=site.ca, timeout=PATIENCE).ok for site in found)


# For what is the same on each host.
ONE_HOST = pytest.mark.parametrize("host", ["carrel-test-1"])


@pytest.fixture(params=sorted(hostvars()))
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def mismatch(host: str) -> Iterator[str]:
    """A host with a certificate one.crt to which two.key does not belong."""
    run_on(host, "sh", "-c", MISMATCH)
    yield host
    run_on(host, "sh", "-c", "cd /etc/ssl/private && rm one.* two.*")


def test_apache_runs_and_starts_at_boot(host: str) -> None:
    assert run_on(host, "systemctl", "is-active", "apache2").strip() == "active"
    assert run_on(host, "systemctl", "is-enabled", "apache2").strip() == "enabled"
    run_on(host, "apache2ctl", "configtest")


def test_no_key_is_readable_by_others(host: str) -> None:
    assert not run_on(host, "sh", "-c", "find /etc/ssl/carrel -name '*.key' -perm /077", check=False).strip()


def test_another_host_name_reaches_no_instance(site: Site) -> None:
    path = urlsplit(site.url).path + "api"
    assert get(site, path).status_code == 200
    assert get(site, path, Host="other.test").status_code == 421


def test_the_path_without_its_slash_leads_to_the_site(site: Site) -> None:
    path = urlsplit(site.url).path
    if path == "/":
        pytest.skip("the site is at the root")
    answer = get(site, path.rstrip("/") + "?a=%2F")
    assert answer.status_code == 301
    assert answer.headers["Location"] == site.url + "?a=%2F"


def test_directives_of_ones_own_hold_for_their_instance_alone(tao: Site) -> None:
    """Which is at /, and atlas below it."""
    assert get(tao, "/api").headers["X-Own"] == "tao"
    assert "X-Own" not in get(tao, "/atlas/api").headers


def test_sites_with_a_trusted_certificate_send_hsts(site: Site) -> None:
    header = get(site, urlsplit(site.url).path + "api").headers.get("Strict-Transport-Security")
    self_signed = hostvars()[site.host]["jupyter_tls"] == "selfsigned"
    assert header == (None if self_signed else "max-age=31536000")


def test_port_80_redirects_with_path_and_query(site: Site) -> None:
    name, path = str(urlsplit(site.url).hostname), urlsplit(site.url).path + "a%2Fb%20c%3Fd?x=%2F&y=%3F"
    if not site.url.startswith("https:"):
        pytest.skip("the site has no TLS")
    status, location = run_on(site.host, "python3", "-c", ASK_PORT_80, name, path).split()
    assert status == "301"
    ports = [urlsplit(other.url).port or 443 for other in sites_of(site.host) if urlsplit(other.url).hostname == name]
    port = 443 if 443 in ports else min(ports)
    assert location == f"https://{name}{'' if port == 443 else f':{port}'}{path}"


@ONE_HOST
def test_what_holds_for_the_whole_host_changes_nothing_if_it_is_bad(host: str) -> None:
    before = configuration(host)
    said = apache_sites(host, sites={"carrel-bad": "Nonsense on\n"}, modules=["info"], listen=["8099"])
    assert "Invalid command 'Nonsense'" in said and "Nothing was changed." in said
    assert configuration(host) == before
    assert answers(host)


def virtual_host(name: str, port: int, *lines: str) -> str:
    return "\n    ".join([f"<VirtualHost *:{port}>", f"ServerName {name}", *lines]) + "\n</VirtualHost>\n"


def tls(certificate: str, key: str) -> tuple[str, ...]:
    folder = "/etc/ssl/private"
    return "SSLEngine on", f"SSLCertificateFile {folder}/{certificate}", f"SSLCertificateKeyFile {folder}/{key}"


@pytest.fixture
def own_sites(mismatch: str) -> Iterator[str]:
    """A host from which the sites carrel-own-* and their ports are removed after the test."""
    yield mismatch
    gone = """cd /etc/apache2
        rm -f sites-*/carrel-own-*.conf
        sed -i '/Listen 809[0-9]/d' conf-available/carrel-listen.conf
        systemctl reload apache2"""
    run_on(mismatch, "sh", "-c", gone)


@ONE_HOST
def test_each_site_is_set_up_for_itself(own_sites: str) -> None:
    """The bad ones are named; what a second run changes, and what becomes of one that was there, is seen as well."""
    host = own_sites
    pair = {"server_name": "own.test", "certificate": "/etc/ssl/private/one.crt"}
    sites = {
        "carrel-own-good": virtual_host("good.test", 8099),
        "carrel-own-nonsense": virtual_host("nonsense.test", 8099, "Nonsense on"),
        "carrel-own-include": virtual_host("include.test", 8099, "Include /etc/ssl/private/one.key"),
        "carrel-own-missing": virtual_host("missing.test", 8099, *tls("none.crt", "one.key")),
        "carrel-own-pair": virtual_host("pair.test", 8099, *tls("one.crt", "two.key")),
        "carrel-own-port": virtual_host("port.test", 8097),
        "carrel-own-tls": virtual_host("tls.test", 8098, *tls("one.crt", "one.key")),
    }
    pairs = [{**pair, "private_key": f"/etc/ssl/private/{name}.key"} for name in ("one", "two")]
    missing = {**pairs[0], "certificate": "/etc/ssl/private/none.crt"}
    given = {"modules": ["ssl"], "listen": ["8097", "8098", "8099"], "certificates": [*pairs, missing]}
    run_on(host, "systemd-run", "--quiet", "--unit=squatter", "python3", "-m", "http.server", "8097")
    try:
        run_on(host, "sh", "-c", "until grep -q :1FA1 /proc/net/tcp; do sleep 0.1; done")
        said = apache_sites(host, sites=sites, **given)
        assert re.findall(r'"site": "carrel-own-(\w+)"', said) == ["include", "missing", "nonsense", "pair", "port"]
        assert "All other sites are as declared." in said
        enabled = run_on(host, "ls", "/etc/apache2/sites-enabled").split()
        assert [name for name in enabled if "own" in name] == ["carrel-own-good.conf", "carrel-own-tls.conf"]
        assert answers(host)
        before = configuration(host)
        sites["carrel-own-good"] = virtual_host("good.test", 8099, "Nonsense on")
        assert '"changed": false' in apache_sites(host, sites=sites, **given)
        assert configuration(host) == before
    finally:
        run_on(host, "systemctl", "stop", "squatter")
    run_on(host, "mv", "/etc/ssl/private/one.crt", "/etc/ssl/private/one.away")
    kept = {"sites": {"carrel-own-tls": sites["carrel-own-tls"]}, **given, "certificates": [pairs[0]]}
    kept["listen"] = ["8098"]
    said = apache_sites(host, **kept)
    assert '"changed": false' in said and "Apache keeps what it has loaded" in said
    kept["sites"]["carrel-own-good"] = virtual_host("other.test", 8099)
    assert "It is switched off, because" in apache_sites(host, **kept)
    assert answers(host)
    run_on(host, "mv", "/etc/ssl/private/one.away", "/etc/ssl/private/one.crt")
    assert '"refused": []' in apache_sites(host, **kept)
    assert "carrel-own-tls.conf" in run_on(host, "ls", "/etc/apache2/sites-enabled")


@ONE_HOST
def test_what_only_a_reload_finds_is_put_back(mismatch: str) -> None:
    host = mismatch
    before = configuration(host)
    said = apache_sites(host, sites={"carrel-bad": BAD_PAIR}, modules=["ssl"])
    assert "site carrel-bad: Apache does not run with" in said and "do not match" in said
    assert configuration(host) == before
    assert answers(host)


@ONE_HOST
def test_a_bad_certificate_is_refused_before(mismatch: str) -> None:
    pairs = [
        {
            "server_name": "none.test",
            "certificate": "/etc/ssl/private/none.crt",
            "private_key": "/etc/ssl/private/one.key",
        },
        {
            "server_name": "bad.test",
            "certificate": "/etc/ssl/private/one.crt",
            "private_key": "/etc/ssl/private/two.key",
        },
    ]
    before = configuration(mismatch)
    said = apache_sites(mismatch, certificates=pairs)
    assert "none.test: the certificate /etc/ssl/private/none.crt cannot be read" in said
    assert (
        "bad.test: /etc/ssl/private/one.crt and /etc/ssl/private/two.key cannot be used: the key does not belong"
        in said
    )
    assert configuration(mismatch) == before


def test_a_renewed_certificate_is_loaded_whatever_its_time_is(tao: Site) -> None:
    """As `ln -s`, `cp -p` and `rsync -a` leave it."""
    folder = "/etc/ssl/private/renewed"
    pair = {name: f"{folder}/now/{name[:3]}" for name in ("certificate", "private_key")}
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=new.test -days 1 -keyout $name/pri -out $name/cer"
    run_on(
        tao.host,
        "sh",
        "-ec",
        f"mkdir {folder}; cd {folder}; ln -s a now; for name in a b; do mkdir $name; {make}; done",
    )

    def said() -> str:
        return apache_sites(tao.host, certificates=[{"server_name": "new.test", **pair}])

    try:
        assert '"action": "reload"' in said() and '"action": "none"' in said()
        run_on(tao.host, "ln", "-sfn", "b", f"{folder}/now")
        assert "/now/cer is not what Apache loaded last" in said()
        run_on(tao.host, "sh", "-ec", f"cd {folder}; touch -d 2020-01-01 a/*; cp -p a/* b/")
        assert '"action": "reload"' in said() and '"action": "none"' in said()
    finally:
        run_on(tao.host, "rm", "-r", folder)


@ONE_HOST
def test_a_port_of_another_program_is_refused(host: str) -> None:
    before = configuration(host)
    run_on(
        host, "systemd-run", "--quiet", "--unit=squatter", "python3", "-m", "http.server", "8099", "--bind", "127.0.0.1"
    )
    try:
        run_on(host, "sh", "-c", "until grep -q :1FA3 /proc/net/tcp; do sleep 0.1; done")
        said = apache_sites(host, listen=["8099"])
    finally:
        run_on(host, "systemctl", "stop", "squatter")
    assert "Apache cannot listen on 8099: python3 (process" in said
    assert configuration(host) == before
    assert answers(host)


@ONE_HOST
def test_a_configuration_that_was_broken_before_is_reported(host: str) -> None:
    foreign = "/etc/apache2/sites-enabled/foreign.conf"
    run_on(host, "sh", "-c", f"echo Nonsense > {foreign}")
    try:
        said = apache_sites(host, sites={"carrel-good": "# nothing\n"})
        assert "already broken before this change" in said
        assert run_on(host, "cat", foreign) == "Nonsense\n"
    finally:
        run_on(host, "rm", foreign)
        run_on(host, "systemctl", "reload", "apache2")
    assert answers(host)
