# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What files of Apache, nginx and cron say."""

from __future__ import annotations

from typing import Any

import pytest
from adopt_helpers import JOB, SITE
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import cron, web

APACHE = """
# ServerName old.example.org
<VirtualHost *:80>
  ServerName tao.example.org
  Redirect / https://tao.example.org/
</VirtualHost>
<VirtualHost *:443>
  ServerName tao.example.org
  ServerAlias www.tao.example.org
  SSLCertificateFile "/etc/ssl/tao.pem"
  SSLCertificateKeyFile /etc/ssl/tao.key
  RewriteRule /(.*) ws://localhost:9288/$1 [P,L]
  ProxyPass / http://127.0.0.1:9288/
</VirtualHost>
"""
NGINX = """
map $http_upgrade $connection_upgrade { default upgrade; '' close; }
server {
    listen 80;
    listen [::]:80;
    # listen 8080;
    server_name tao.example.org;
    location / { proxy_pass http://127.0.0.1:9288; }
}
server { listen 443 ssl; server_name geo.example.org; ssl_certificate /etc/geo.pem; ssl_certificate_key /etc/geo.key;
  location / { if ($x) { return 403; } proxy_pass http://localhost:9289/; } }
server { listen 80 default_server; server_name _; return 444; }
"""


def test_sites_of_apache_and_nginx() -> None:
    (site,) = web.sites("/etc/apache2/sites-enabled/tao.conf", APACHE)
    assert site == {**SITE, "names": ["tao.example.org", "www.tao.example.org"]}  # its redirect is not another's
    tao, geo = web.sites("/etc/nginx/sites-enabled/tao.conf", NGINX)
    assert (tao["names"], tao["port"], tao["certificate"], tao["backends"]) == (["tao.example.org"], 80, None, [9288])
    assert (geo["port"], geo["certificate"], geo["private_key"], geo["backends"]) == (
        443,
        "/etc/geo.pem",
        "/etc/geo.key",
        [9289],
    )


SCRIPT = """#!/bin/sh
USER="tao"
WORK_DIR="/srv/$USER/jupyterlab"
docker compose down
# docker compose pull
docker compose up -d
"""


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("/etc/cron.daily/reset_jupyter_tao", SCRIPT, {**JOB, "projects": ["tao"]}),
        ("/etc/cron.daily/reset", SCRIPT.replace("# docker", "docker"), {"at": "daily", "pull": True}),
        (
            "/etc/cron.daily/reset",
            "docker compose -f /srv/tao/lab/docker-compose.yml up -d",
            {"projects": ["/srv/tao/lab"]},
        ),
        ("/etc/cron.d/reset", "5 1 * * * root docker-compose -f /srv/tao/lab/x.yml up\n", {"at": "01:05"}),
        ("/etc/cron.d/reset", "@daily tao docker compose up\n", {"at": None, "projects": ["tao"]}),
        ("/etc/cron.d/reset", "5 1 * * * root true\n", None),
        ("/etc/cron.daily/apt", "# docker compose up\napt update\n", None),
    ],
)
def test_jobs_of_cron(path: str, text: str, expected: dict[str, Any] | None) -> None:
    found = cron.jobs(path, text, ["tao", "/srv/tao/lab", "other"])
    assert len(found) == (expected is not None)
    assert not expected or {key: found[0][key] for key in expected} == expected


@pytest.mark.parametrize(
    ("line", "projects"),
    [
        ("0 3 * * * cd ~/lab && docker compose up -d", {"tao"}),
        ("@reboot /usr/bin/docker start lbsn-jupyterlab", {"tao"}),
        ("0 3 * * * docker-compose -f /srv/tao/lab/compose.yml up", {"tao", "/srv/tao/lab"}),
        ("# 0 3 * * * docker compose up -d", None),
        ("0 3 * * * /usr/bin/dockerd-rootless.sh", None),
    ],
)
def test_crontabs(line: str, projects: set[str] | None) -> None:
    known, text = ["tao", "/srv/tao/lab", "other"], f"MAILTO=tao\n0 1 * * * true other\n{line}\n"
    found = cron.crontab("/var/spool/cron/crontabs/tao", text, "tao", known)
    assert [{*one["projects"]} for one in found] == ([projects] if projects else [])
    named = (projects or set()) - {"tao"}
    of_root = cron.crontab("/etc/crontab", text, None, known)
    assert [{*one["projects"]} for one in of_root] == ([named] if named else [])


SERVICE = "[Service]\nUser=tao\nWorkingDirectory=/srv/tao/lab\nExecStart=/usr/bin/docker compose \\\n  up -d\n"
ENGINE = "[Unit]\nDescription=docker of tao\n[Service]\nExecStart=/usr/bin/dockerd-rootless.sh\n"


@pytest.mark.parametrize(
    ("text", "projects"),
    [
        (SERVICE, ["tao", "/srv/tao/lab"]),
        (SERVICE.replace("User=", "; User=").replace("WorkingDirectory", "#"), []),
        (ENGINE, []),
    ],
)
def test_services_of_systemd(text: str, projects: list[str]) -> None:
    path = "/etc/systemd/system/lab.service"
    found = [{"path": path, "projects": projects}] if projects else []
    assert cron.service(path, text, None, ["tao", "/srv/tao/lab"]) == found


def nginx(text: str) -> list[dict[str, Any]]:
    return web.sites("/etc/nginx/sites-enabled/tao.conf", text)


def apache(text: str) -> list[dict[str, Any]]:
    return web.sites("/etc/apache2/sites-enabled/tao.conf", text)


PASS = "ProxyPass / http://localhost:9288/"
HOST = f"<VirtualHost *:443>\nServerName tao.example.org\n%s\n{PASS}\n</VirtualHost>\n"
SERVER = "server { listen 80; server_name tao.example.org; %s location / { proxy_pass http://127.0.0.1:9288; } }\n"


@pytest.mark.parametrize(
    ("directives", "limits"),
    [
        ("<Location />\n  Require ip 10.0.0.0/8\n</Location>", ["Require ip"]),
        ("AuthType Basic\nAuthUserFile /etc/x\nRequire valid-user", ["AuthType Basic", "Require valid-user"]),
        ("SSLVerifyClient require", ["SSLVerifyClient require"]),
        ("Order deny,allow\nDeny from all\nAllow from 10.0.0.1", ["Deny from", "Allow from"]),
        ("Require all granted\nAuthType None\nSSLVerifyClient none\nAllow from all\nAllowOverride None", []),
    ],
)
def test_who_apache_lets_in(directives: str, limits: list[str]) -> None:
    (site,) = apache(HOST % directives)
    assert site["limits"] == limits
    (site,) = apache(HOST % "" + directives)  # for all virtual hosts
    assert site["limits"] == limits


@pytest.mark.parametrize(
    ("directives", "limits"),
    [
        ("allow 10.0.0.0/8; deny all;", ["allow 10.0.0.0/8", "deny all"]),
        ('auth_basic "Staff"; auth_basic_user_file /etc/x;', ['auth_basic "Staff"']),
        ("auth_request /auth;", ["auth_request /auth"]),
        ("ssl_verify_client on;", ["ssl_verify_client on"]),
        ("auth_basic off; auth_request off; ssl_verify_client off;", []),
    ],
)
def test_who_nginx_lets_in(directives: str, limits: list[str]) -> None:
    (site,) = nginx(SERVER % directives)
    assert site["limits"] == limits
    (site,) = nginx(directives + SERVER % "")
    assert site["limits"] == limits


def test_what_a_site_includes_is_not_read() -> None:
    (site,) = apache(HOST % "Include /etc/apache2/staff.conf")
    assert site["unread"] == ["/etc/apache2/staff.conf"]
    (site,) = nginx(SERVER % "include snippets/staff.conf;")
    assert site["unread"] == ["snippets/staff.conf"]


@pytest.mark.parametrize(
    ("text", "tls", "port", "certificate"),
    [
        ("SSLEngine on\n" + (HOST % "").replace("443", "8443"), True, 8443, None),
        ((HOST % "SSLEngine on").replace("443", "8443"), True, 8443, None),
        ("SSLCertificateFile /etc/ssl/all.pem\n" + HOST % "SSLEngine on", True, 443, "/etc/ssl/all.pem"),
        (HOST % "", True, 443, None),
        ((HOST % "").replace("443", "80"), False, 80, None),
        ("SSLEngine on\n" + (HOST % "SSLEngine off").replace("443", "80"), False, 80, None),
    ],
)
def test_tls_of_apache(text: str, tls: bool, port: int, certificate: str | None) -> None:
    (site,) = apache(text)
    assert (site["tls"], site["port"], site["certificate"]) == (tls, port, certificate)


@pytest.mark.parametrize(
    ("text", "tls", "port", "certificate"),
    [
        (SERVER % "listen 443 ssl http2;", True, 443, None),
        ("ssl_certificate /etc/all.pem; " + SERVER % "listen [::]:8443 ssl;", True, 8443, "/etc/all.pem"),
        ((SERVER % "ssl on;").replace("80", "8443", 1), True, 8443, None),
        (SERVER % "", False, 80, None),
        ((SERVER % "").replace("listen 80", "listen 10.0.0.1"), False, 80, None),
        ("ssl_certificate /etc/all.pem; " + SERVER % "", False, 80, None),
    ],
)
def test_tls_of_nginx(text: str, tls: bool, port: int, certificate: str | None) -> None:
    (site,) = nginx(text)
    assert (site["tls"], site["port"], site["certificate"]) == (tls, port, certificate)


def test_upstreams_of_nginx_with_one_server() -> None:
    named = (SERVER % "").replace("127.0.0.1:9288", "lab")
    (site,) = nginx("upstream lab { server 127.0.0.1:9288; keepalive 8; }\n" + named)
    assert (site["backends"], site["unresolved"], site["shared"]) == ([9288], [], False)
    for text in (named, "upstream lab { server 127.0.0.1:9288; server 127.0.0.1:9289; }\n" + named):
        (site,) = nginx(text)
        assert (site["backends"], site["unresolved"]) == ([], ["http://lab"])
    (site,) = apache(HOST.replace(PASS, "ProxyPass / balancer://lab/") % "")
    assert site["unresolved"] == ["balancer://lab/"]


@pytest.mark.parametrize(
    "text",
    [
        HOST % "" + "<VirtualHost *:80>\nServerName wiki.example.org\n</VirtualHost>",
        HOST % "" + "<VirtualHost *:80>\nDocumentRoot /var/www\n</VirtualHost>",
        HOST % "ProxyPass /wiki http://wiki.internal/",
        HOST % 'ProxyPass "/files" "!"',
        HOST % "ProxyPass /geo http://localhost:9289/",
        HOST % "RewriteRule ^/wiki/(.*) http://wiki.internal/$1 [P,L]",
        "Listen 8080\n" + HOST % "",
        HOST.replace("ProxyPass / ", "ProxyPass /jupyter ") % "",
        HOST.replace(PASS, "<Location /jupyter>\nProxyPass http://localhost:9288/jupyter\n</Location>") % "",
    ],
)
def test_a_file_of_apache_that_does_more(text: str) -> None:
    assert apache(text)[0]["shared"] is True


def test_a_file_of_apache_that_does_no_more() -> None:
    redirect = "RewriteEngine on\nRewriteRule ^ https://%{SERVER_NAME}%{REQUEST_URI} [R=permanent]"
    plain = f"<VirtualHost *:80>\nServerName tao.example.org\n{redirect}\n</VirtualHost>\n"
    socket = f"ProxyPassReverse / http://localhost:9288/\n{PASS.replace('/ http', chr(34) + '/' + chr(34) + ' http')}"
    (site,) = apache(f"<IfModule mod_ssl.c>\n{plain}{HOST % socket}</IfModule>\n")
    assert site["shared"] is False and site["backends"] == [9288]


@pytest.mark.parametrize(
    "text",
    [
        SERVER % "" + "server { listen 80; server_name wiki.example.org; }",
        SERVER % "location /files { alias /srv/files; }",
        SERVER % "location /wiki { proxy_pass http://wiki.internal; }",
        "limit_req_zone $binary_remote_addr zone=all:1m rate=1r/s;\n" + SERVER % "",
    ],
)
def test_a_file_of_nginx_that_does_more(text: str) -> None:
    assert nginx(text)[0]["shared"] is True


def test_each_line_of_cron_is_a_job_of_its_own() -> None:
    text = "MAILTO=root\n5 1 * * * root apt update\n25 2 * * * root docker compose -f /srv/tao/lab/x.yml up\n"
    (job,) = cron.jobs("/etc/cron.d/all", text, ["/srv/tao/lab"])
    assert (job["at"], job["shared"]) == ("02:25", True)
    both = "25 2 * * * tao docker compose pull\n30 2 * * * tao docker compose up -d\n"
    found = cron.jobs("/etc/cron.d/tao", both, ["tao"])
    assert [(job["at"], job["pull"], job["shared"]) for job in found] == [
        ("02:25", True, False),
        ("02:30", False, False),
    ]
    found = cron.jobs("/etc/cron.d/tao", both.replace("30 2 * * * tao", "0 5 * * * geo"), ["tao", "geo"])
    assert [(job["at"], job["shared"]) for job in found] == [("02:25", True), ("05:00", True)]


@pytest.mark.parametrize(
    ("address", "addresses"),
    [
        ("10.8.0.1:443", ["10.8.0.1"]),
        ("10.8.0.1:443 [fd00::1]:443", ["10.8.0.1", "[fd00::1]"]),
        ('"10.8.0.1"', ["10.8.0.1"]),
        ("tao.example.org:*", ["tao.example.org"]),
        ("*:443", []),
        ("*", []),
        ("_default_:443", []),
        ("0.0.0.0:443", []),
        ("[::]:443", []),
        ("10.8.0.1:443 *:443", []),
    ],
)
def test_on_which_addresses_apache_listens(address: str, addresses: list[str]) -> None:
    (site,) = apache((HOST % "").replace("*:443", address))
    assert site["addresses"] == addresses


@pytest.mark.parametrize(
    ("listens", "addresses"),
    [
        ("listen 10.8.0.1:443 ssl;", ["10.8.0.1"]),
        ("listen 10.8.0.1;", ["10.8.0.1"]),
        ("listen 80; listen 10.8.0.1:443 ssl;", ["10.8.0.1"]),
        ("listen [fd00::1]:443 ssl; listen 10.8.0.1:443 ssl;", ["[fd00::1]", "10.8.0.1"]),
        ("listen 443 ssl; listen 10.8.0.1:443 ssl;", []),
        ("listen *:443 ssl;", []),
        ("listen [::]:443 ssl;", []),
        ("", []),
    ],
)
def test_on_which_addresses_nginx_listens(listens: str, addresses: list[str]) -> None:
    (site,) = nginx((SERVER % "").replace("listen 80;", listens))
    assert site["addresses"] == addresses
