# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was found on a host becomes an inventory that the plan takes, or a reason."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from adopt_helpers import ENVS, JOB, NOTEBOOKS, PASSWORD, SITE, container, engine, mount, one, planned, refused, survey
from ansible_collections.carrel.jupyter.plugins.filter import adopt as plugin
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt import takeover
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.host import Adoption, adopt
from plan_helpers import host, plan


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
            "instances": [
                {
                    "name": "tao-lab", "notebooks": "/srv/tao/notebooks", "port": 9288,
                    "container": "lbsn-jupyterlab", "running": True,
                    "stays": ["/srv/tao/jupyterlab", "/srv/tao/envs"],
                }
            ],
            "files": ["/etc/apache2/sites-enabled/tao.conf", "/etc/cron.daily/reset_jupyter_tao"], "shared": [],
        }
    ]  # fmt: skip
    assert "token" in "".join(adoption.notes["tao-lab"]) and not adoption.left


def test_an_instance_has_the_account_s_name_where_its_folder_is_free() -> None:
    (entry,) = planned(adopt(survey(folders=[])))
    assert entry["name"] == "tao" and "engine" not in entry


@pytest.mark.parametrize(
    ("account", "folders", "name"),
    [("backup-geo", [], "geo"), ("backup-geo", ["geo"], "geo-lab"), ("backup-backup-geo", [], "geo")],
)
def test_a_name_whose_resets_would_have_the_file_of_backups_is_changed(
    account: str, folders: list[str], name: str
) -> None:
    adoption = adopt(survey(engine(account=account), folders=folders))
    (entry,) = planned(adoption)
    assert (entry["name"], entry["engine"]) == (name, account)
    because = (
        f"it is called {name}, because as {account} its resets and the backups of {account[7:]} would have the same"
    )
    assert because in "".join(adoption.notes[name])


@pytest.mark.parametrize("account", ["backup-1", "backup-www-data"])
def test_a_name_that_nothing_is_left_of_is_refused(account: str) -> None:
    assert f"no lab can be called {account}, because its resets" in refused(engine(account=account))


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
    assert len(notes) == 1 and "its command is in the secrets' file" in notes[0]


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
    *sites: dict[str, Any], environment: dict[str, str] | None = None, address: str = "127.0.0.1", ports: Any = None
) -> Adoption:
    ports = ports or [{"container": 8888, "address": address, "host": 9288}]
    one = container(environment={**WEB, **(environment or {})}, ports=ports)
    return adopt(survey(engine(one), sites=list(sites)))


def test_the_address_is_that_of_the_site() -> None:
    plain = {**SITE, "certificate": None, "private_key": None, "port": 8080, "tls": False}
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
    nginx["tls"] = False
    for sites in ([nginx], []):
        adoption = addressed(*sites, environment={"JUPYTER_WEBURL": "https://tao.example.org"})
        (entry,) = planned(adoption)
        assert (entry["url"], entry["tls"]) == ("https://tao.example.org/", "selfsigned")
        assert "its certificate was not found on this host" in "".join(adoption.notes["tao-lab"])


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


@pytest.mark.parametrize("folder", ["/srv/tao/notebooks", "/srv/tao/notebooks/geo", "/srv/tao/note"])
def test_two_labs_do_not_have_one_folder(folder: str) -> None:
    other = container(
        name="geo", project="geo",
        environment={"JUPYTER_WEBURL": "https://geo.example.org"},
        mounts=[mount(folder, "/home/jovyan/work")],
        ports=[{"container": 8888, "address": "127.0.0.1", "host": 9289}],
    )  # fmt: skip
    if folder == "/srv/tao/note":
        assert len(planned(adopt(survey(engine(container(), other))))) == 2
        return
    text = refused(engine(container(), other))
    for name, path, both in (("lbsn-jupyterlab", "/srv/tao/notebooks", "geo"), ("geo", folder, "lbsn-jupyterlab")):
        assert (
            f"{name} of the engine of tao: its notebooks' folder {path} is also that of {both}, or one lies in the "
            "other: give each a folder of its own, or make one of them `volumes`, and adopt again" in text
        )


@pytest.mark.parametrize(
    ("folder", "inside", "more"),
    [
        ("/srv/tao", "/srv/tao", {}),
        ("/srv", "/srv", {}),
        ("/data/lab", "/data/lab/compose", {"directory": "/data/lab/compose"}),
        ("/data/lab", "/data/lab/maps", {"mounts": [mount("/data/lab/maps", "/maps")]}),
        ("/data/lab", "/data/lab", {"mounts": [mount("/data/lab", "/all")]}),
    ],
)
def test_notebooks_lie_in_a_folder_of_their_own(folder: str, inside: str, more: dict[str, Any]) -> None:
    mounts = [mount(folder, "/home/jovyan/work"), *more.pop("mounts", [])]
    words = (
        f"its notebooks' folder {folder} is or contains {inside}, which must stay where it is: mount a folder of its"
    )
    assert words in refused(engine(container(mounts=mounts, **more)))


def test_other_containers_of_the_engine_are_named() -> None:
    telegraf = container(name="telegraf-tao", image="telegraf:alpine", ports=[], environment={}, image_environment=[])
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
        "- /srv/tao/notebooks is moved to /srv/tao-lab/data/notebooks\n",
        f"- {JOB['path']} is moved to /etc/carrel/adopted/tao{JOB['path']}; look into it first: all that is in it ends",
        "pulls quay.io/ioer-fdz/carto-lab-docker:v1.1.0; if that was built on this host, push it",
    ):
        assert words in found["lab1.md"]


def test_nothing_but_the_report_where_nothing_is_adopted() -> None:
    (text,) = plugin.files(survey(engine(problem="it \x1b[2Jsleeps")), "lab1").values()
    assert "Nothing can be adopted" in text and "it sleeps" in text


def test_the_plan_refuses_until_the_old_setup_has_ended() -> None:
    found = adopt(survey())
    entries = [{**entry, **found.secrets[entry["name"]]} for entry in found.instances]
    _result, problems = plan(entries, current=host(accounts={"tao": 1001}, listening_ports=[22, 9288]))
    assert {problem.path.rpartition(".")[2] for problem in problems} == {"engine", "port"}
    now = host(accounts={"tao": 1001}, listening_ports=[22, 9288])
    result, problems = plan(entries, current=takeover.foreseen(now, found.takeovers))
    assert not problems and result and result["lab_instances"][0]["port"] == 9288
    assert takeover.foreseen(now, []) == now
    assert takeover.undeclared(found.takeovers[0], result["lab_instances"]) == []
    for other in ({"engine": "geo"}, {"state": "absent"}, {"name": "geo"}):
        lab = {**result["lab_instances"][0], **other}
        assert takeover.undeclared(found.takeovers[0], [lab]) == ["tao-lab"]


def test_an_account_is_taken_over_on_one_host() -> None:
    adopted = {"lab1": [{"account": "tao"}, {"account": "geo"}], "lab2": [{"account": "geo"}], "lab3": []}
    assert takeover.not_chosen(["tao", "geo", "ada"], adopted) == [
        "geo is in jupyter_adopted of lab1 and lab2",
        "ada is in jupyter_adopted of no host",
    ]


def test_the_report_says_how_the_old_setup_ends() -> None:
    nginx = {**SITE, "path": "/etc/nginx/sites-enabled/tao.conf"}
    text = plugin.files(survey(base_dir="/data", folders=["tao"], sites=[nginx], cron=[]), "lab1")["lab1.md"]
    assert (
        """
- YOUR PART: Apache needs the ports of nginx: move its other sites to Apache, and stop it: systemctl disable --now nginx
- the engine of tao is stopped, and its unit docker.service disabled
- /srv/tao/notebooks is moved to /data/tao-lab/data/notebooks
- /etc/nginx/sites-enabled/tao.conf is moved to /etc/carrel/adopted/tao/etc/nginx/sites-enabled/tao.conf; look"""
        in text
    )


@pytest.mark.parametrize(
    ("command", "kept", "token"),
    [
        (["bash", "-c", "jupyter lab --ServerApp.token=s3cr"], None, None),
        (
            ["start-notebook.sh", "--NotebookApp.token", "s3cr-of-16-letters"],
            ["start-notebook.sh"],
            "s3cr-of-16-letters",
        ),
        (["jupyter", "lab", "--ip", "0.0.0.0", "--port", "8888", "--no-browser"], ["jupyter", "lab"], None),
        (["lab", "--S3ContentsManager.secret_access_key=s3cr"], None, None),
        (["lab", "--ServerApp.hashed_password", "argon2:s3cr", "--port", "--debug"], ["lab", "--debug"], None),
    ],
)
def test_a_command_is_kept_as_a_secret(command: list[str], kept: list[str] | None, token: str | None) -> None:
    one = survey(engine(container(command=command, environment={})))
    found = plugin.files(one, "lab1")
    secret = yaml.load(found.pop("host_vars/lab1/vault.yml"), Loader)["vault_jupyter_adopted"]["tao-lab"]
    assert (secret["command"], secret.get("token")) == (kept or command, token)
    assert "s3cr" not in str(found)
    entry = yaml.load(found["host_vars/lab1/jupyter.yml"], Loader)["jupyter_instances"][0]
    assert entry["command"] == "{{ vault_jupyter_adopted['tao-lab'].command }}"
    assert "its command is in the secrets' file" in found["lab1.md"]
    assert command[0] == "bash" or planned(adopt(one))  # the plan refuses a token among options


def test_where_the_notebooks_are_in_two_words() -> None:
    entry, _notes = one(command=["lab", "--notebook-dir", "/data"], mounts=[mount("/srv/tao/x", "/data")])
    assert entry["notebooks"] == "/data" and entry["command"] == ["lab", "--notebook-dir", "/data"]


def test_limits_of_the_old_site_come_first() -> None:
    limited = {**SITE, "limits": ["Require ip"], "unread": ["staff.conf"], "names": [*SITE["names"], "www.example.org"]}
    text = plugin.files(survey(sites=[limited]), "lab1")["lab1.md"]
    first = text[text.index("- ") :]
    assert first.startswith("- WARNING: /etc/apache2/sites-enabled/tao.conf lets in only some (Require ip), and that")
    assert "it would be open to all who reach the host, so write proxy.directives first" in first
    assert "tao.conf includes staff.conf, not read: look there for limits of access" in text
    assert "its other names end, because an instance has one: www.example.org" in text


def test_what_is_open_on_one_address_is_a_limit() -> None:
    warned = "is open on 10.8.0.1 alone, and that is not carried over: Apache listens on all addresses of the host, so"
    narrow = {**SITE, "addresses": ["10.8.0.1"]}
    assert f"WARNING: {SITE['path']} {warned}" in adopt(survey(sites=[narrow])).notes["tao-lab"][0]
    found = addressed(address="10.8.0.1")
    assert f"WARNING: its port {warned}" in found.notes["tao-lab"][0] and found.instances
    for address in ("0.0.0.0", "::", ""):
        found = addressed(ports=[port(8888, 9288, "10.8.0.1"), port(8888, 9288, address)])
        assert warned not in "".join(found.notes["tao-lab"])
    assert warned not in "".join(addressed(SITE, address="10.8.0.1").notes["tao-lab"])  # only its web server's port


def test_what_starts_it_again_and_stays_is_the_administrator_s_part() -> None:
    crontab = {"path": "/var/spool/cron/crontabs/tao", "projects": ["tao"]}
    other = {"path": "/etc/systemd/system/geo.service", "projects": ["/srv/geo"]}
    text = plugin.files(survey(starters=[crontab, other]), "lab1")["lab1.md"]
    assert f"- YOUR PART: {crontab['path']} runs docker for this, and stays where it is: take its part out by" in text
    assert other["path"] not in text and "- YOUR PART: look for what else starts it again. Only /etc/" in text


def test_files_that_do_more_are_edited_by_hand() -> None:
    shared = {**SITE, "shared": True}
    text = plugin.files(survey(sites=[shared], cron=[{**JOB, "shared": True}]), "lab1")["lab1.md"]
    for path in (SITE["path"], JOB["path"]):
        assert f"{path} is moved" not in text
        assert f"- YOUR PART: {path} does more than this, or is of others: take its part out" in text
    geo = {**JOB, "projects": ["tao", "/srv/geo/lab"]}
    assert adopt(survey(cron=[geo])).takeovers[0]["shared"] == [JOB["path"]]
    own = {**JOB, "projects": ["tao", "/srv/tao/jupyterlab"]}
    assert adopt(survey(cron=[own])).takeovers[0]["shared"] == []
    claimed = engine(container(directory="/srv/geo/lab"))
    taken = adopt(survey(claimed, cron=[{**JOB, "projects": ["/srv/geo/lab"]}])).takeovers[0]
    assert taken["shared"] == [JOB["path"]] and JOB["path"] not in taken["files"]
    below = adopt(survey(engine(container(environment={**WEB, "JUPYTER_WEBURL": "https://tao.example.org/lab1/"}))))
    assert below.takeovers[0]["shared"] == [SITE["path"]]  # the rest of the site is somebody else's


def port(inner: int, outer: int, address: str = "127.0.0.1") -> dict[str, Any]:
    return {"container": inner, "address": address, "host": outer}


def test_which_port_is_jupyterlab_s() -> None:
    entry, notes = one(ports=[port(4040, 4040), port(8080, 9288)])
    assert entry["port"] == 9288 and "its other ports on the host end: 4040" in notes
    for sites in ([], [{**SITE, "backends": [4040, 9290]}]):
        found = adopt(survey(engine(container(ports=[port(4040, 4040), port(8888, 9290)])), sites=sites))
        assert found.instances[0]["port"] == 9290
    assert "which of its ports 4040, 9290 on the host is JupyterLab's cannot be told: publish that one" in refused(
        engine(container(ports=[port(4040, 4040), port(8080, 9290)]))
    )
    found = addressed(ports=[port(8888, 9288, "0.0.0.0"), port(8888, 9288, "::")])
    assert found.instances[0]["url"] == "http://lab1.example.org:9288/"


def test_tls_never_becomes_http() -> None:
    bare = {**SITE, "certificate": None, "private_key": None, "port": 8443}
    found = addressed(bare)
    (entry,) = planned(found)
    assert (entry["url"], entry["tls"]) == ("https://tao.example.org:8443/", "selfsigned")
    assert "its certificate was not found on this host" in "".join(found.notes["tao-lab"])


def test_a_site_whose_backend_is_not_known_is_a_reason() -> None:
    unknown = {**SITE, "backends": [], "unresolved": ["http://lab"]}
    for address in ("127.0.0.1", "0.0.0.0"):
        assert (
            f"which port is behind {SITE['path']} (http://lab) cannot be read, so its address is not known"
            in "".join(addressed(unknown, address=address).left)
        )


def test_a_lab_that_publishes_no_port_is_named() -> None:
    hidden = container(name="hidden", ports=[])
    assert "hidden of the engine of tao looks like a JupyterLab, but publishes no port of the host" in refused(
        engine(hidden)
    )
    adoption = adopt(survey(engine(container(), hidden)))
    assert (
        "hidden (quay.io/ioer-fdz/carto-lab-docker:v1.1.0) publishes no port and ends" in adoption.notes["tao-lab"][-1]
    )


def test_why_a_folder_cannot_be_the_notebooks() -> None:
    linked = mount("/srv/link/notebooks", "/home/jovyan/work", "other")
    text = refused(engine(container(mounts=[linked])))
    assert "/srv/link/notebooks, mounted at /home/jovyan/work, is no folder, or lies below a link" in text
    assert "its notebooks end with it" not in text
    options = mount("/home/tao/.local/share/docker/volumes/w/_data", "/home/jovyan/work", "other", name="w")
    assert "the volume w with another driver or options" in refused(engine(container(mounts=[options])))
    cache = mount("/srv/tao/cache", "/home/jovyan/.cache")
    assert "no folder of the host is mounted at" in refused(engine(container(mounts=[cache])))
    assert "is read-only, and a lab's notebooks are not" in refused(
        engine(container(mounts=[{**NOTEBOOKS, "read_only": True}]))
    )


def test_several_ranges_of_subordinate_ids_are_said_before_the_site_playbook_refuses_them() -> None:
    adoption = adopt(survey(engine(ranges={"subuid": 2, "subgid": 1})))
    assert (
        "the site playbook refuses tao, which has several ranges in /etc/subuid: leave" in adoption.notes["tao-lab"][0]
    )


def test_several_jobs_are_one_reset() -> None:
    found = adopt(survey(cron=[{**JOB, "at": "01:25", "pull": True}, {**JOB, "at": "02:00"}]))
    assert found.instances[0]["reset"] == {"at": "01:25", "pull": True}
    assert "runs at 01:25, 02:00: a reset has one time, reset.at" in "".join(found.notes["tao-lab"])
