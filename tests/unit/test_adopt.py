# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was found on a host becomes an inventory that the plan takes, or a reason."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.filter import adopt as plugin
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import cron, web
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.host import Adoption, adopt
from plan_helpers import host, plan

PASSWORD = "a pass{{word}} of Tao's"
SITE = {
    "path": "/etc/apache2/sites-enabled/tao.conf", "names": ["tao.example.org"], "port": 443,
    "certificate": "/etc/ssl/tao.pem", "private_key": "/etc/ssl/tao.key", "backends": [9288],
}  # fmt: skip
JOB = {"path": "/etc/cron.daily/reset_jupyter_tao", "at": "daily", "pull": False, "projects": ["tao"]}


def mount(source: str, target: str, kind: str = "folder", **more: Any) -> dict[str, Any]:
    """As the survey has it, of the account itself."""
    found = {"name": "", "source": source, "target": target, "read_only": False, "kind": kind, "uid": 1001, "gid": 1002}
    return {**found, "empty": False, **more}


NOTEBOOKS = mount("/srv/tao/notebooks", "/home/jovyan/work")
ENVS = mount("/srv/tao/envs", "/envs")


def container(**more: Any) -> dict[str, Any]:
    """Carto-Lab Docker as its own playbooks set it up."""
    return {
        "name": "lbsn-jupyterlab", "image": "quay.io/ioer-fdz/carto-lab-docker:v1.1.0",
        "running": True, "environment": {
            "JUPYTER_PASSWORD": PASSWORD, "JUPYTER_WEBURL": "https://tao.example.org", "COLLABORATIVE": "true",
            "GENERATE_TOKEN": "true", "JUPYTER_AUTOSHUTDOWN_TIMEOUT": "0", "POSTGRES_PASSWORD": "eX4mP13",
            "JUPYTER_EXTRA_ARGS": "--ServerApp.allow_origin='https://tao.example.org'", "DISABLE_JUPYTEXT": "",
        }, "image_environment": ["PATH", "JUPYTER_CONFIG"],
        "words": ["tini"],
        "command": None, "entrypoint": False, "user": "", "project": "jupyterlab", "directory": "/srv/tao/jupyterlab",
        "ports": [{"container": 8888, "address": "127.0.0.1", "host": 9288}], "mounts": [NOTEBOOKS, ENVS],
        "memory": 0, "shm_size": 64 << 20, "cpus": None, "pids": None, "privileged": [], **more,
    }  # fmt: skip


def engine(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    ids = {"start": 165536, "count": 65536}
    return {
        "account": "tao", "uid": 1001, "gid": 1002, "home": "/srv/tao", "unit": "docker.service", "on_hold": False,
        "subuid": ids, "subgid": ids, "containers": list(containers or [container()]), "problem": None, **more,
    }  # fmt: skip


def survey(*engines: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "hostname": "lab1.example.org", "base_dir": "/srv", "folders": ["base", "tao"], "instances": [],
        "sites": [SITE], "cron": [JOB],
        "engines": list(engines or [engine()]), "stopped": [], **more,
    }  # fmt: skip


def planned(adoption: Adoption) -> list[dict[str, Any]]:
    """The entries with their secrets, once the plan has taken them."""
    entries = [{**entry, **adoption.secrets.get(entry["name"], {})} for entry in adoption.instances]
    result, problems = plan(entries)
    assert not problems and result
    return entries


def one(**more: Any) -> tuple[dict[str, Any], list[str]]:
    """The entry of a container and its notes."""
    adoption = adopt(survey(engine(container(**more))))
    (entry,) = planned(adoption)
    return entry, adoption.notes["tao-lab"]


def refused(*engines: dict[str, Any], **more: Any) -> str:
    adoption = adopt(survey(*engines, **more))
    assert not adoption.instances and not adoption.secrets and not adoption.takeovers
    return "\n".join(adoption.left)


def test_a_carto_lab_of_its_own_playbooks() -> None:
    adoption = adopt(survey())
    assert planned(adoption) == [
        {
            "name": "tao-lab", "url": "https://tao.example.org/", "engine": "tao",
            "image": "quay.io/ioer-fdz/carto-lab-docker:v1.1.0",
            "tls": {"mode": "files", "certificate": "/etc/ssl/tao.pem", "private_key": "/etc/ssl/tao.key"},
            "notebooks": "/home/jovyan/work", "owner": "0:0", "port": 9288, "collaboration": True,
            "volumes": [{"source": "/srv/tao/envs", "target": "/envs"}],
            "reset": {"at": "daily", "pull": False},
            "password": PASSWORD, "environment": {"POSTGRES_PASSWORD": "eX4mP13"},
        }
    ]  # fmt: skip
    assert adoption.takeovers == [
        {
            "account": "tao", "unit": "docker.service",
            "instances": [{"name": "tao-lab", "notebooks": "/srv/tao/notebooks"}],
            "files": ["/etc/apache2/sites-enabled/tao.conf", "/etc/cron.daily/reset_jupyter_tao"],
        }
    ]  # fmt: skip
    assert "token" in "".join(adoption.notes["tao-lab"]) and not adoption.left


def test_an_instance_has_the_account_s_name_where_its_folder_is_free() -> None:
    (entry,) = planned(adopt(survey(folders=[])))
    assert entry["name"] == "tao" and "engine" not in entry


def test_docker_stacks_with_a_token_on_its_command_line() -> None:
    ids = {"uid": 165536 + 999, "gid": 165536 + 99}
    entry, notes = one(
        image="quay.io/jupyter/base-notebook:2025-03-14", environment={"GRANT_SUDO": "yes"}, user="1000:100",
        command=["start-notebook.py", "--IdentityProvider.token='a token of the lab'", "--base_url=/tao/", "--debug"],
        mounts=[mount("/srv/tao/work", "/home/jovyan", **ids)], memory=8 << 30, cpus=2.5, pids=500, shm_size=1 << 30,
    )  # fmt: skip
    assert entry["token"] == "a token of the lab" and entry["url"] == "https://tao.example.org/tao/"
    assert entry["command"] == ["start-notebook.py", "--debug"] and entry["owner"] == entry["user"] == "1000:100"
    assert entry["environment"] == {"GRANT_SUDO": "yes"} and entry["notebooks"] == "/home/jovyan"
    assert (entry["memory"], entry["cpus"], entry["pids"], entry["shm_size"]) == ("8192M", 2.5, 500, "1024M")
    assert notes == []


def test_what_is_not_carried_over_is_said() -> None:
    login = mount("/srv/base/login_v2.html", "/etc/jupyter/templates/login.html", "file", empty=True, read_only=True)
    key = mount("/srv/tao/.ssh/key", "/root/.ssh/id_ed25519", "file", read_only=True)
    docker = mount("/run/user/999/docker.sock", "/var/run/docker.sock", "other")
    maps = mount("/data/maps", "/maps", read_only=True)
    entry, notes = one(
        mounts=[NOTEBOOKS, login, key, docker, maps], entrypoint=True, user="jovyan",
        privileged=["SYS_ADMIN"],
        environment={"JUPYTER_PASSWORD": "short", "JUPYTER_TOKEN": " spaces around the token "},
        command=["start.sh", "--PasswordIdentityProvider.hashed_password=argon2:x"],
    )  # fmt: skip
    assert entry["volumes"] == [{"source": "/data/maps", "target": "/maps", "read_only": True}]
    assert not {"password", "token", "user"} & entry.keys() and "argon2" not in str(entry)
    text = "\n".join(notes)
    for words in (
        "login_v2.html stays behind, and is empty: write a notice",
        "/srv/tao/.ssh/key, mounted at /root/.ssh/id_ed25519, is no folder that can be mounted here",
        "/run/user/999/docker.sock, mounted at",
        "its entrypoint is another than the image's: build",
        "it ran as the user jovyan: write user with both ids",
        "rights that containers here do not get: SYS_ADMIN",
        "its password has spaces around it or fewer than 8 characters",
        "its token has spaces around it or fewer than 16 characters",
        "its command has a password's hash or another way to log in",
        "it gets a token of its own, in /srv/NAME/token",
    ):
        assert words in text


def test_a_named_volume_is_a_folder_of_the_account() -> None:
    source = "/srv/tao/.local/share/docker/volumes/work/_data"
    adoption = adopt(survey(engine(container(mounts=[mount(source, "/home/jovyan/work", name="work")]))))
    assert planned(adoption) and adoption.takeovers[0]["instances"][0]["notebooks"] == source


def test_what_stands_still_is_held() -> None:
    entry, notes = one(running=False)
    assert entry["state"] == "held" and "write present to start it" in notes[0]
    (entry,) = planned(adopt(survey(engine(on_hold=True))))
    assert entry["state"] == "held"


WEB = {"JUPYTER_PASSWORD": PASSWORD}


def addressed(
    *sites: dict[str, Any], environment: dict[str, str] | None = None, address: str = "127.0.0.1"
) -> Adoption:
    ports = [{"container": 8888, "address": address, "host": 9288}]
    one = container(environment={**WEB, **(environment or {})}, ports=ports)
    return adopt(survey(engine(one), sites=list(sites)))


def test_the_address_is_that_of_the_site() -> None:
    plain = {**SITE, "certificate": None, "private_key": None, "port": 8080}
    (entry,) = planned(addressed(plain))
    assert (entry["url"], entry["tls"], entry["port"]) == ("http://tao.example.org:8080/", "none", 9288)
    (entry,) = planned(addressed(plain, SITE))
    assert entry["url"] == "https://tao.example.org/"
    (entry,) = planned(found := addressed(SITE, environment={"JUPYTER_WEBURL": "https://old.example.org"}))
    assert (
        entry["url"] == "https://tao.example.org/"
        and "JUPYTER_WEBURL says https://old.example.org/" in found.notes["tao-lab"][0]
    )


def test_a_certificate_elsewhere_becomes_a_self_signed_one() -> None:
    nginx = {**SITE, "path": "/etc/nginx/sites-enabled/tao.conf", "certificate": None, "private_key": None, "port": 80}
    for sites in ([nginx], []):
        adoption = addressed(*sites, environment={"JUPYTER_WEBURL": "https://tao.example.org"})
        (entry,) = planned(adoption)
        assert (entry["url"], entry["tls"]) == ("https://tao.example.org/", "selfsigned")
        assert "its certificate is not on this host" in "".join(adoption.notes["tao-lab"])


def test_without_a_web_server_apache_takes_its_port() -> None:
    (entry,) = planned(found := addressed(address="0.0.0.0", environment={"JUPYTER_WEBURL": "http://localhost/"}))
    assert entry["url"] == "http://lab1.example.org:9288/" and "port" not in entry
    assert "Apache listens on port 9288 now" in found.notes["tao-lab"][0]


def test_what_cannot_be_adopted_says_what_to_do() -> None:
    assert "JUPYTER_WEBURL is not set: set it in .env" in "".join(addressed().left)
    for words, mounts in {
        "no folder of the host is mounted at /home/jovyan/work or /home/jovyan": [ENVS],
        "/srv/tao/notebooks belongs to 0:1002, which no container of tao has: `chown` it": [{**NOTEBOOKS, "uid": 0}],
    }.items():
        assert words in refused(engine(container(mounts=mounts)))
    assert "no folder of the host is mounted at /data" in refused(
        engine(container(command=["lab", "--ServerApp.root_dir=/data"]))
    )
    assert "its image has no name: give it one" in refused(engine(container(image="sha256:" + "ab" * 32)))
    assert "'Tao_1' is not a name for an instance" in refused(engine(account="Tao_1"))
    assert "called tao-lab is there already: move it away" in refused(folders=["tao", "tao-lab"])
    assert "the engine of tao: it sleeps; start it" in refused(engine(problem="it sleeps; start it"))
    assert "it is not run by a unit ~/.config/systemd/user/docker.service" in refused(engine(unit=None))
    assert "runs as root's, and its files belong to ids" in refused(engine(account=None, uid=0, gid=0, unit=None))
    assert "/srv/x/compose.yml: no container of this compose file" in refused(
        engine(problem="x"), stopped=["/srv/x/compose.yml"]
    )


def test_a_system_account_is_not_adopted() -> None:
    words = "the engine of tao: it is a system account (uid 999), and no engine runs as one here: declare a new lab"
    assert words in refused(engine(uid=999))


def test_a_hub_is_not_adopted_and_holds_back_the_labs_of_its_engine() -> None:
    hub = container(name="jupyterhub", words=["tini", "/usr/local/bin/jupyterhub", "-f", "/srv/jupyterhub/config.py"])
    assert "hubs are not adopted" in refused(engine(container(image="quay.io/jupyterhub/jupyterhub:5"), account=None))
    assert "jupyterhub of Docker as root is a JupyterHub, and hubs are not adopted" in refused(
        engine(hub, account=None)
    )
    assert "tao-lab cannot be taken over while the others of this engine cannot" in refused(engine(container(), hub))


def test_labs_that_share_an_engine_have_their_projects_names() -> None:
    other = container(
        project="geo",
        environment={"JUPYTER_WEBURL": "https://geo.example.org"},
        mounts=[mount("/srv/tao/geo", "/home/jovyan/work")],
        ports=[{"container": 8888, "address": "127.0.0.1", "host": 9289}],
    )
    adoption = adopt(survey(engine(container(), other)))
    assert [(entry["name"], entry["engine"]) for entry in planned(adoption)] == [("jupyterlab", "tao"), ("geo", "tao")]
    assert [of["name"] for of in adoption.takeovers[0]["instances"]] == ["jupyterlab", "geo"]


def test_other_containers_of_the_engine_are_named() -> None:
    telegraf = container(name="telegraf-tao", image="telegraf:alpine", ports=[], environment={})
    adoption = adopt(survey(engine(container(), telegraf)))
    assert "telegraf-tao (telegraf:alpine) is no JupyterLab and ends" in adoption.notes["tao-lab"][-1]


def test_when_and_how_it_is_reset() -> None:
    (entry,) = planned(adopt(survey(cron=[{**JOB, "at": "01:25", "pull": True}])))
    assert entry["reset"] == {"at": "01:25", "pull": True}
    adoption = adopt(survey(engine(container(image="lab")), cron=[{**JOB, "at": None, "pull": True}]))
    (entry,) = planned(adoption)
    assert entry["reset"] == {"pull": False}
    assert (
        "write a tag into image" in adoption.notes["tao-lab"][0]
        and "cannot be read: write reset.at" in adoption.notes["tao-lab"][1]
    )
    (entry,) = planned(adopt(survey(cron=[{**JOB, "projects": ["other"]}])))
    assert "reset" not in entry


class Loader(yaml.SafeLoader):
    """Takes Ansible's tag for text that is no template."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def test_the_files_keep_secrets_apart() -> None:
    found = plugin.files(survey(), "lab1")
    assert set(found) == {"lab1.md", "host_vars/lab1/jupyter.yml", "host_vars/lab1/vault.yml"}
    secret = found.pop("host_vars/lab1/vault.yml")
    loaded = yaml.load(secret, Loader)
    assert loaded["vault_jupyter_adopted"]["tao-lab"]["password"] == PASSWORD and "!unsafe 'a pass{{word}}" in secret
    for text in found.values():
        assert "word}}" not in text and "eX4mP13" not in text
    entry = yaml.load(found["host_vars/lab1/jupyter.yml"], Loader)["jupyter_instances"][0]
    assert entry["password"] == "{{ vault_jupyter_adopted['tao-lab'].password }}"
    assert entry["port"] == 9288
    for words in (
        "tao-lab: https://tao.example.org/",
        "cp -a -T /srv/tao/notebooks /srv/tao-lab/data/notebooks",
        "mv /etc/apache2/sites-enabled/tao.conf /etc/cron.daily/reset_jupyter_tao /root/adopted/tao/",
        "pulls quay.io/ioer-fdz/carto-lab-docker:v1.1.0; if that was built on this host, push it",
    ):
        assert words in found["lab1.md"]


def test_nothing_but_the_report_where_nothing_is_adopted() -> None:
    (text,) = plugin.files(survey(engine(problem="it \x1b[2Jsleeps")), "lab1").values()
    assert "Nothing can be adopted" in text and "it sleeps" in text


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
    assert site == {**SITE, "names": ["tao.example.org", "www.tao.example.org"]}
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
    found = cron.job(path, text, ["tao", "/srv/tao/lab", "other"])
    assert (found is None) == (expected is None)
    assert not expected or (found and {key: found[key] for key in expected} == expected)


def test_the_plan_refuses_until_the_old_setup_has_ended() -> None:
    found = adopt(survey())
    entries = [{**entry, **found.secrets[entry["name"]]} for entry in found.instances]
    _result, problems = plan(entries, current=host(accounts={"tao": 1001}, listening_ports=[22, 9288]))
    assert {problem.path.rpartition(".")[2] for problem in problems} == {"engine", "port"}
    now = host(accounts={"tao": 1001}, engines={"tao": {}}, listening_ports=[22])
    result, problems = plan(entries, current=now)
    assert not problems and result and result["lab_instances"][0]["port"] == 9288


def test_the_report_says_how_to_end_the_old_setup() -> None:
    text = plugin.files(survey(base_dir="/data/a b", folders=["tao"], sites=[]), "lab1")["lab1.md"]
    assert """
```
su - tao -c 'XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user disable --now docker.service'
mkdir -p '/data/a b/tao-lab/data'
cp -a -T /srv/tao/notebooks '/data/a b/tao-lab/data/notebooks'
mkdir -p /root/adopted/tao
mv /etc/cron.daily/reset_jupyter_tao /root/adopted/tao/
mkdir -p /etc/rootless-docker/tao
```
""" in text  # fmt: skip
    assert "systemctl reload apache2" in plugin.files(survey(), "lab1")["lab1.md"]
    nginx = {**SITE, "path": "/etc/nginx/sites-enabled/tao.conf"}
    assert (
        "systemctl disable --now nginx # Apache needs its ports"
        in plugin.files(survey(sites=[nginx]), "lab1")["lab1.md"]
    )
