# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub after jupyterhub-deploy-docker becomes an inventory that the plan takes, or a reason."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from adopt_helpers import (
    BCRYPT,
    STARTED,
    VOLUMES,
    account,
    container,
    database,
    engine,
    mount,
    old_hub,
    planned,
    refused,
    rootful,
    survey,
    volume,
)
from ansible_collections.carrel.jupyter.plugins.filter import adopt as plugin
from ansible_collections.carrel.jupyter.plugins.module_utils._adopt.host import Adoption, adopt
from test_adopt import Loader

DATABASE = f"{VOLUMES}/jupyterhub-data/_data/jupyterhub.sqlite"
SITE_FILE = "/etc/nginx/conf.d/hub.conf"


def adopted(*containers: dict[str, Any], **more: Any) -> Adoption:
    bare: dict[str, Any] = {"folders": [], "sites": [], "cron": []}
    return adopt(survey(rootful(*(containers or (old_hub(),)), **more), **bare))


def server(user: str, **more: Any) -> dict[str, Any]:
    """A user's server, as DockerSpawner starts it."""
    given = {
        "name": f"jupyter-{user}", "image": "quay.io/jupyter/base-notebook:latest", "ports": [],
        "words": ["tini", "start-notebook.sh"], "mounts": [mount(f"/data/{user}", "/home/jovyan/work")],
        "environment": {"JUPYTERHUB_USER": user, "JUPYTERHUB_BASE_URL": "/"}, "memory": 2 << 30, "cpus": 1.5,
    }  # fmt: skip
    return container(**{**given, **more})


def notes(adoption: Adoption, name: str = "jupyterhub") -> str:
    return "\n".join(adoption.notes[name])


def test_a_hub_of_jupyterhub_deploy_docker() -> None:
    adoption = adopted()
    assert planned(adoption) == [
        {
            "name": "jupyterhub", "kind": "hub", "url": "http://lab1.example.org:8000/", "tls": "none",
            "image": "quay.io/jupyter/base-notebook:latest",
            "users": [
                {"name": "ada@uni", "password": BCRYPT}, {"name": "prof", "admin": True, "password": BCRYPT},
            ],
        }
    ]  # fmt: skip
    assert adoption.takeovers == [
        {
            "hub": "jupyterhub", "container": "jupyterhub", "port": 8000, "files": [], "shared": [],
            "account": None,
            "homes": [
                {"user": "ada@uni", "source": f"{VOLUMES}/jupyterhub-user-ada-40uni/_data"},
                {"user": "prof", "source": f"{VOLUMES}/jupyterhub-user-prof/_data"},
            ],
        }
    ]  # fmt: skip
    assert not adoption.left
    assert "nobody can sign up: write authenticator: {type: native, signup: true} if people may" in notes(adoption)
    assert "its configuration /root/hub/jupyterhub_config.py is Python, and was not read" in notes(adoption)
    assert "further images and folders, and who is allowed or blocked, and write them" in notes(adoption)
    assert "nothing was in front of it: Apache listens on port 8000 now" in notes(adoption)
    limits = "--network none --cap-drop ALL --user 65534 --entrypoint jupyterhub"
    look = f"look with `docker run --rm {limits} quay.io/jupyter/base-notebook:latest --version` before the old hub"
    assert look in notes(adoption)


def test_the_files_say_whose_password_is_whose_and_what_to_do() -> None:
    found = plugin.files(survey(rootful(old_hub(), server("prof")), folders=[], sites=[], cron=[]), "hub1")
    secret = yaml.load(found.pop("host_vars/hub1/vault.yml"), Loader)
    hashes = secret["vault_jupyter_adopted"]["jupyterhub"]["password_hashes"]
    assert hashes == {"ada-40uni": BCRYPT, "prof": BCRYPT} and BCRYPT not in str(found)
    text = found["host_vars/hub1/jupyter.yml"]
    users = yaml.load(text, Loader)["jupyter_instances"][0]["users"]
    assert users[0]["password"] == "{{ vault_jupyter_adopted['jupyterhub'].password_hashes['ada-40uni'] }}"
    assert "name: !unsafe 'ada@uni'" in text
    (taken,) = yaml.load(text, Loader)["jupyter_adopted"]
    assert (taken["hub"], taken["account"]) == ("jupyterhub", None)
    steps = found["hub1.md"].partition("## To take over the hub jupyterhub\n\n")[2]
    assert steps.splitlines()[2].startswith("- YOUR PART: look for what else starts it again. Only ")
    assert steps.splitlines()[3:] == [
        "- the container jupyterhub of Docker as root, and people's servers, are stopped; that container is not "
        "restarted any more",
        f"- what is in {VOLUMES}/jupyterhub-user-ada-40uni/_data is copied to "
        "/srv/jupyterhub/data/users/ada-40uni/home",
        "- what is in /data/prof is copied to /srv/jupyterhub/data/users/prof/home",
    ]


def test_its_site_is_taken_over() -> None:
    site: dict[str, Any] = {
        "path": SITE_FILE, "names": ["hub.example.org"], "port": 443, "tls": True, "addresses": [], "limits": [],
        "unread": [],
        "unresolved": [], "elsewhere": False, "shared": True, "certificate": "/etc/hub.pem",
        "private_key": "/etc/hub.key", "backends": [8000],
    }  # fmt: skip
    based = server("prof", environment={"JUPYTERHUB_USER": "prof", "JUPYTERHUB_BASE_URL": "/jupyter/"})
    one = survey(rootful(old_hub(running=False), based), folders=["jupyterhub"], sites=[site])
    (entry,) = planned(adoption := adopt(one))
    assert (entry["name"], entry["url"], entry["port"]) == (
        "jupyterhub-hub",
        "https://hub.example.org/jupyter/",
        8000,
    )
    assert entry["tls"] == {"mode": "files", "certificate": "/etc/hub.pem", "private_key": "/etc/hub.key"}
    assert entry["state"] == "held" and "write present to start it" in notes(adoption, "jupyterhub-hub")
    report = plugin.files(one, "hub1")["hub1.md"]
    assert f"- YOUR PART: {SITE_FILE} does more than this, or is of others: take its part out by hand" in report
    assert "- YOUR PART: Apache needs the ports of nginx" in report


def test_its_jobs_end() -> None:
    folder = old_hub()["directory"]
    own: dict[str, Any] = {"at": "01:25", "pull": True, "shared": False, "projects": [folder]}
    jobs = [{**own, "path": "/etc/cron.d/hub"}, {**own, "path": "/etc/cron.d/all", "projects": [folder, "/srv/x"]}]
    one = survey(rootful(old_hub()), folders=[], sites=[], cron=jobs)
    (taken,) = (adoption := adopt(one)).takeovers
    assert (taken["files"], taken["shared"]) == (["/etc/cron.d/hub"], ["/etc/cron.d/all"])
    assert "/etc/cron.d/hub, /etc/cron.d/all starts it again, and ends: write reset for a nightly one" in notes(
        adoption
    )
    report = plugin.files(one, "hub1")["hub1.md"]
    assert "- /etc/cron.d/hub is moved to /etc/carrel/adopted/jupyterhub/etc/cron.d/hub; look into it first" in report
    assert "- YOUR PART: /etc/cron.d/all does more than this" in report


def test_the_hub_of_an_account_gets_another_account() -> None:
    one = survey(engine(old_hub(), volumes=[volume("prof")]), folders=[], sites=[])
    adoption = adopt(one)
    assert (adoption.takeovers[0]["account"], adoption.takeovers[0]["hub"]) == ("tao", "jupyterhub")
    assert "refuses an image with another one: look as tao with `docker run --rm --network none" in notes(adoption)
    text = plugin.files(one, "hub1")["hub1.md"]
    assert "- the container jupyterhub of the engine of tao, and people's servers, are stopped" in text
    (same,) = adopt(survey(engine(old_hub(name="tao")), folders=[], sites=[])).takeovers
    assert (same["hub"], same["container"]) == ("tao-hub", "tao")


def test_its_own_certificate_is_not_carried_over() -> None:
    own = old_hub(ports=[{"container": 443, "address": "0.0.0.0", "host": 443}])
    (entry,) = planned(adoption := adopted(own))
    assert (entry["url"], entry["tls"]) == ("https://lab1.example.org/", "selfsigned")
    assert "it had its own certificate: write tls with the certificate's files, or acme" in notes(adoption)


def test_servers_show_images_limits_and_folders() -> None:
    plain = old_hub(environment={})
    other = mount("/data/shared", "/home/jovyan/shared")
    servers = [
        server("prof", mounts=[mount("/data/prof", "/home/jovyan/work/"), other]),
        server("ada@uni", name="jupyter-ada-40uni", mounts=[other], image="quay.io/jupyter/r-notebook:latest"),
        server("prof", name="jupyter-prof--gpu", mounts=[]),
    ]
    (entry,) = planned(adoption := adopted(plain, *servers))
    assert entry["image"] == "quay.io/jupyter/base-notebook:latest"
    assert entry["limits"] == {"memory": "2048M", "cpus": 1.5}
    assert adoption.takeovers[0]["homes"][1] == {"user": "prof", "source": "/data/prof"}
    for words in (
        "write images: quay.io/jupyter/base-notebook:latest, quay.io/jupyter/r-notebook:latest",
        "people's servers also have /data/shared at /home/jovyan/shared: copy it, and write groups or shared",
    ):
        assert words in notes(adoption)
    elsewhere = old_hub(environment={**old_hub()["environment"], "DOCKER_NOTEBOOK_DIR": "/home/jovyan"})
    (entry,) = planned(adopted(elsewhere, server("prof"), server("ada@uni", memory=0)))
    assert entry["home"] == "/home/jovyan" and "limits" not in entry


def test_volumes_that_pass_with_their_servers_are_not_taken_for_homes() -> None:
    anonymous = {"name": "a" * 64, "source": f"{VOLUMES}/{'a' * 64}/_data"}
    listed = [{"name": "work", "source": f"{VOLUMES}/work/_data"}, anonymous, volume("ada-40uni")]

    def at_home(found: dict[str, str]) -> list[dict[str, Any]]:
        return [mount(found["source"], "/home/jovyan/work", name=found["name"])]

    def homes(*servers: dict[str, Any]) -> dict[str, str]:
        nonlocal adoption
        adoption = adopted(old_hub(), *servers, volumes=listed)
        return {home["user"]: home["source"] for home in adoption.takeovers[0]["homes"]}

    adoption = adopted()
    ada = listed[2]["source"]
    assert homes(server("prof", mounts=at_home(listed[0]))) == {"ada@uni": ada, "prof": listed[0]["source"]}
    assert "before the servers end" not in notes(adoption)
    remote = {"name": "nfs", "source": f"{VOLUMES}/nfs/_data"}
    found = homes(server("prof", mounts=at_home(remote)), server("ada@uni", mounts=at_home(anonymous)))
    assert found == {"ada@uni": ada}
    assert f"yourself before the servers end: prof (nfs), ada@uni ({'a' * 64})" in notes(adoption)


def test_who_gets_in_and_who_does_not() -> None:
    people = {"prof": True, "held": False, "new": False, "A{{b}}": False, "two words": False}
    accounts = [
        account("prof", second_factor=True), account("held", authorized=False), account("eve", authorized=False),
        account("guest"), account("prof2", hash="{{ lookup('pipe', 'id') }}"),
    ]  # fmt: skip
    (entry,) = planned(adoption := adopted(old_hub(database=database(people, *accounts))))
    assert entry["users"] == [
        {"name": "guest", "password": BCRYPT},
        {"name": "held", "password": BCRYPT, "state": "held"},
        {"name": "new"},
        {"name": "prof", "admin": True, "password": BCRYPT},
        {"name": "prof2"},
    ]
    for words in (
        "A{{b}}, two words have names that are refused here, so they are left out",
        "eve have signed up and were not approved, so they are left out",
        "new, prof2 have no password, so they cannot log in: write one, or signup: true and invite them",
        "prof had a second factor, which a hub here does not ask for",
    ):
        assert words in notes(adoption)


def test_a_hub_whose_people_log_in_elsewhere() -> None:
    adoption = adopted(old_hub(database=database({"ada lovelace": False}, accounts=None)))
    assert adoption.instances[0]["users"] == [{"name": "ada lovelace"}] and not adoption.secrets
    assert (
        f"people were read from {DATABASE}, last written 2023-11-14 22:14 UTC: look whether its configuration has this "
        "database (db_url), else remove users and write those of the other one"
    ) in adoption.notes["jupyterhub"]
    assert "its database has no passwords, so people logged in elsewhere: write authenticator" in notes(adoption)


def test_which_database_was_read_and_when_it_was_written() -> None:
    fresh = adopted()
    assert (
        f"people and passwords were read from {DATABASE}, last written 2023-11-14 22:14 UTC: look whether its "
        "configuration has this database (db_url), else remove users and write those of the other one; and whether "
        "people still log in with these passwords (authenticator_class), else remove password from users, or old ones "
        "work again"
    ) in fresh.notes["jupyterhub"]
    assert "WARNING" not in notes(fresh)
    stale = database({"prof": True}, account("prof"), written=STARTED - 60)
    assert adopted(old_hub(database=stale)).notes["jupyterhub"][0] == (
        f"WARNING: {DATABASE} was last written before the running hub was started (2023-11-14 22:12 UTC): if it has "
        "another database by now, people, admins and passwords are old ones, so look at its configuration (db_url) "
        "first"
    )
    assert "WARNING" not in notes(adopted(old_hub(database=stale, running=False)))


def test_volumes_without_people_and_people_without_volumes() -> None:
    # by its raw name it would be that of ada@uni, whom the hub has forgotten
    users = database({f"user{number}": False for number in range(12)} | {"ada-40uni": False})
    mine = [volume("user1"), volume("ada-40uni"), volume("gone")]
    adoption = adopted(old_hub(database=users), volumes=mine)
    assert [home["user"] for home in adoption.takeovers[0]["homes"]] == ["user1"]
    assert "user7 and 2 more have no volume jupyterhub-user-NAME" in notes(adoption)
    assert "volumes of nobody who is listed: jupyterhub-user-ada-40uni, jupyterhub-user-gone" in notes(adoption)


def test_a_container_s_name_becomes_the_instance_s() -> None:
    for found, name in {
        "Course_hub.1": "course-hub-1",
        "backup-class": "class",
        "1": "hub",
        "x" * 40: "x" * 31,
    }.items():
        assert adopted(old_hub(name=found)).instances[0]["name"] == name


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"database": None}, "no folder or volume of it has a jupyterhub.sqlite, so its people are not known"),
        ({"database": database({}, problem="it is a pipe")}, "it is a pipe; stop the hub, and adopt again"),
        (
            {"database": database({}, others=["/a/jupyterhub.sqlite", "/b/jupyterhub.sqlite"])},
            f"its folders have several databases, {DATABASE}, /a/jupyterhub.sqlite, /b/jupyterhub.sqlite: move away "
            "those that its configuration does not name (db_url), and adopt again",
        ),
        ({"ports": []}, "it publishes no port of the host: publish its port in the compose file"),
        ({"environment": {}}, "the image of people's servers is not known: start a server, and adopt again"),
    ],
)
def test_what_cannot_be_adopted_says_what_to_do(more: dict[str, Any], words: str) -> None:
    assert f"jupyterhub of Docker as root: {words}" in refused(rootful(old_hub(**more)), sites=[], folders=[])


def test_a_hub_holds_back_the_labs_of_its_engine() -> None:
    adoption = adopt(survey(engine(container(), old_hub()), folders=["tao"], sites=[]))
    assert [entry["name"] for entry in adoption.instances] == ["jupyterhub"]
    assert "cannot be taken over while the others of this engine cannot" in "".join(adoption.left)
