# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hubs as values of the Zero to JupyterHub chart: its schema, a real KubeSpawner and real authenticators judge them.

With `helm` on the PATH and the chart's folder in CARREL_Z2JH_CHART, helm renders it with them, too.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import stat
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.filter import z2jh as plugin
from ansible_collections.carrel.jupyter.plugins.module_utils._kubernetes import z2jh
from jupyterhub.objects import Hub
from jupyterhub.orm import User
from kubernetes_asyncio.config import kube_config
from kubespawner import KubeSpawner
from ldap3 import Tls
from ldapauthenticator import LDAPAuthenticator
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.google import GoogleOAuthenticator
from plan_helpers import good, hub, lab
from plan_hub_cases import AZURE, CLIENT, OIDC
from plan_several_cases import GIT, UNI
from tornado import web
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "data" / "z2jh"
PROGRAM = (ROOT / "playbooks/files/z2jh/carrel.py").read_text()
CHART = os.environ.get("CARREL_Z2JH_CHART")
GIB = 1 << 30

RICH: dict[str, Any] = {
    "image": ...,
    "images": [
        {"title": "Plain", "image": "registry.example.org:5000/lab:1.0"},
        {"title": "By digest", "image": "registry.example.org/lab@sha256:" + "ab" * 32},
        {"title": "Built", "image": {"declared": "statistics"}},
    ],
    "authenticator": {"type": "oidc", **OIDC},
    "normalize_usernames": True,
    "users": [
        {"name": "Ada@uni.example", "admin": True},
        {"name": "grace@uni.example", "memory": "512M", "cpus": 0.5, "swap": "1G"},
        "mary@uni.example",
    ],
    "blocked_users": ["mallory@uni.example"],
    "groups": {
        "stars": {"members": ["grace@uni.example"], "admins": ["Ada@uni.example"]},
        "tiles": {
            "members": ["grace@uni.example"],
            "mounts": [{"source": "/srv/class101/data/datasets/tiles", "target": "/opt/tiles", "members": "ro"}],
        },
    },
    "targets": ["/opt"],
    "egress": {"allow": ["192.0.2.0/24", "10.1.2.3"]},
    "limits": {"memory": "2G", "shm_size": "1G", "cpus": 1, "pids": 500},
    "environment": {"GREETING": "{hello} $(USER) $$ -"},
    "owner": "1001:200",
    "settings": {"@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Dark"}},
    "server_settings": {"MappingKernelManager": {"cull_idle_timeout": 3600}},
    "login": {"notice": "Only <b>homes</b> are kept"},
    "users_view": "ro",
    "active_servers": 30,
    "database": {"type": "postgresql"},
    "reset": {"at": "01:25"},
}
HUBS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rich": RICH,
    "github": {"authenticator": {"type": "github", **CLIENT, "allowed_organizations": ["uni"]}},
    "azuread": {"authenticator": {"type": "azuread", **CLIENT, **AZURE}},
    "dummy": {"authenticator": {"type": "dummy", "insecure": True, "dummy_password": "open sesame"}},
    "ldap": {"authenticator": {"type": "ldap", "server_address": "ldap.uni.example"}},
    "several": {
        "authenticator": {"type": "several", "each": [{**UNI, "prefix": ""}, GIT]},
    },
    "custom": {
        "authenticator": {
            "type": "custom",
            "class": "ltiauthenticator.lti13.auth.LTI13Authenticator",
            "settings": {"issuer": "https://platform.uni.example"},
            "secret_settings": {"key": "a key of the tool"},
        },
        "extra_packages": ["jupyterhub-ltiauthenticator==1.6.2"],
    },
    "domains": {"user_domains": True},
    "nothing shared": {"shared": False, "colab": False, "culler": {"idle_seconds": 0}, "persist": {}},
    "a page of its own": {"login": {"template": "login.html"}, "url": "http://example.org:8080/class/", "tls": ...},
}


LEFT: dict[str, Any] = {
    "proxy": {"directives": "Require ip 192.0.2.0/24"},
    "devices": ["vendor.com/camera=0"],
    "gpu_devices": ["nvidia.com/gpu=0"],
    "limits": {"gpus": 1},
    "user_domains": True,
    "sharing": True,
    "backup": {"repository": "/srv/backup", "password": "a secret"},
    "prune": "archive",
    "delete_after_days": 365,
    "groups": {"stars": {"members": ["ada"], "egress": {"allow": []}}},
}


def exported(**keys: Any) -> dict[str, str]:
    images = [{"name": "statistics", "kernels": ["r"]}]
    return plugin.files(good([hub(**keys)], images=images), "class101", PROGRAM)


def merged(below: Any, above: Any) -> Any:
    """As helm does it."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {key: merged(below[key], above[key]) if key in below and key in above else {**below, **above}[key]
            for key in {**below, **above}}  # fmt: skip


def values(files: dict[str, str]) -> Any:
    chart = json.loads((DATA / "values.json").read_text())
    return merged(merged(chart, yaml.safe_load(files["values.yaml"])), yaml.safe_load(files["secrets.yaml"]))


@pytest.mark.parametrize("keys", HUBS.values(), ids=HUBS)
def test_the_chart_takes_the_values(keys: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(json.loads((DATA / "values.schema.json").read_text())).validate(values(exported(**keys)))


def test_the_chart_refuses_what_it_does_not_know() -> None:
    wrong = merged(values(exported()), {"singleuser": {"memory": {"most": "1G"}}})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(json.loads((DATA / "values.schema.json").read_text())).validate(wrong)


@pytest.mark.skipif(not CHART or not shutil.which("helm"), reason="no helm, or no chart in CARREL_Z2JH_CHART")
@pytest.mark.parametrize("keys", HUBS.values(), ids=HUBS)
def test_helm_renders_the_chart(keys: dict[str, Any], tmp_path: Path) -> None:
    files = exported(**keys)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    run = subprocess.run(
        ["helm", "template", "class101", CHART, "--kube-version=1.33.0", "-f", "values.yaml", "-f", "secrets.yaml"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    documents = [document for document in yaml.safe_load_all(run.stdout) if document]
    (ingress,) = [document for document in documents if document["kind"] == "Ingress"]
    assert ingress["spec"]["rules"][0]["host"] == values(files)["ingress"]["hosts"][0]


def test_secrets_are_kept_apart() -> None:
    files = exported(**RICH)
    apart = files.pop("secrets.yaml")
    assert "GREETING" in apart and OIDC["client_secret"] in apart
    for name, text in files.items():
        assert OIDC["client_secret"] not in text and "GREETING" not in text, name
    assert "open sesame" in exported(**HUBS["dummy"])["secrets.yaml"]


@pytest.fixture(autouse=True)
def no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KubeSpawner wants to know one before it does anything."""
    cluster = {"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "none", "context": {"cluster": "none", "user": "none"}}
    user = {"name": "none", "user": {}}
    file = tmp_path.parent / f"{tmp_path.name}.kubeconfig"
    file.write_text(json.dumps({
        "current-context": "none", "clusters": [cluster], "contexts": [context], "users": [user],
    }))  # fmt: skip
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(file))


class Pods:
    """Users' pods, from a KubeSpawner that is configured as the chart configures it. Only the cluster is missing."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.values = values(exported(**keys))
        for file in self.values["hub"]["extraFiles"].values():
            path = folder / Path(file["mountPath"]).name
            path.write_text(file["stringData"])
        # In the chart, both are in one folder as seen from __file__.
        self.config = PyFileConfigLoader("carrel.py", path=str(folder)).load_config()
        single = self.values["singleuser"]
        storage, home = single["storage"], single["storage"]["dynamic"]["volumeNameTemplate"]
        volume = {"name": home, "persistentVolumeClaim": {"claimName": "{pvc_name}"}}
        mount = {"name": home, "mountPath": storage["homeMountPath"], "subPath": storage["dynamic"]["subPath"]}
        self.config.KubeSpawner.update({
            "image": f"{single['image']['name']}:{single['image']['tag']}",
            "mem_limit": single["memory"]["limit"],
            "mem_guarantee": single["memory"]["guarantee"],
            "cpu_limit": single["cpu"]["limit"],
            "cpu_guarantee": single["cpu"]["guarantee"],
            **self.values["hub"]["config"]["KubeSpawner"],
            "environment": single["extraEnv"],
            "cmd": single["cmd"],
            "uid": single["uid"],
            "fs_gid": single["fsGid"],
            "volumes": {home: volume, **storage["extraVolumes"]},
            "volume_mounts": {home: mount, **storage["extraVolumeMounts"]},
        })  # fmt: skip

    def start(self, name: str, times: int = 1) -> Any:
        async def manifest() -> Any:
            spawner = KubeSpawner(
                config=self.config, _mock=True, user=_user(name), hub=Hub(), api_token="token", namespace="class101"
            )
            for _time in range(times):
                spawner.run_pre_spawn_hook()
            return await spawner.get_pod_manifest()

        return asyncio.run(manifest())


def _user(name: str) -> Any:
    class Named:
        id, server, settings, url = 7, None, {}, f"/user/{name}"

        def __init__(self) -> None:
            self.name, self.escaped_name, self.orm_user = name, name, User(name=name)

    return Named()


def mounts(pod: Any) -> dict[str, tuple[str, str | None, bool | None]]:
    found = pod.spec.containers[0].volume_mounts
    assert len({mount.mount_path for mount in found}) == len(found)
    return {mount.mount_path: (mount.name, mount.sub_path, mount.read_only) for mount in found}


def test_users_have_domains_there_too() -> None:
    files = exported(user_domains=True)
    found = values(files)
    assert found["hub"]["config"]["JupyterHub"]["subdomain_host"] == "https://class101.example.org"
    assert found["proxy"]["chp"]["extraCommandLineFlags"] == ["--host-routing"]
    assert found["ingress"]["tls"][0]["hosts"] == found["ingress"]["hosts"]
    assert found["ingress"]["hosts"] == ["class101.example.org", "*.class101.example.org"]
    assert "class101.example.org and *.class101.example.org" in files["README.md"]


def test_nobody_signs_up_there_as_the_server_of_a_group() -> None:
    files = exported(user_domains=True, groups={"stars": {"members": ["ada"], "server": True}})
    assert "group-stars" not in files["values.yaml"] and "servers of stars." in files["README.md"]
    group = {"name": "stars", "members": ["ada", "group-stars"], "admins": ["group-stars", "prof"]}
    users = [
        {"name": "ada", "server_of": None},
        {"name": "prof", "server_of": None},
        {"name": "group-stars", "server_of": "stars"},
    ]
    (of_people,) = z2jh.of_people({"users": users, "groups": [group]})["groups"]
    assert of_people == {"name": "stars", "members": ["ada"], "admins": ["prof"]}


def test_a_user_has_own_limits_and_mounts(tmp_path: Path) -> None:
    pod = Pods(tmp_path, **RICH).start("grace@uni.example", times=2)
    (container,) = pod.spec.containers
    assert container.image == "registry.example.org:5000/lab:1.0"
    assert container.resources.limits == {"memory": 512 << 20, "cpu": 0.5}
    assert container.resources.requests == {"memory": 512 << 20, "cpu": 0.05}
    variables = {entry.name: entry.value for entry in container.env}
    assert variables["JUPYTERHUB_ROOT_DIR"] == "/home/jovyan/work", "what opens is what is kept"
    own = "volume-grace-uni-example---"
    assert {path: (name[: len(own)], *rest) for path, (name, *rest) in mounts(pod).items()} == {
        "/home/jovyan/work": (own, "home", None),
        "/home/jovyan/.jupyter/lab": (own, "settings", None),
        "/home/jovyan/work/shared": ("shared", "shared", True),
        "/home/jovyan/work/colab": ("shared", "colab", False),
        "/home/jovyan/work/groups/stars": ("shared", "groups/stars", False),
        "/opt/tiles": ("shared", "datasets/tiles", True),
    }
    claims = {volume.name: volume.persistent_volume_claim["claimName"] for volume in pod.spec.volumes}
    assert claims["shared"] == "class101-shared"
    assert container.security_context["runAsUser"] == 1001
    assert pod.spec.security_context["fsGroup"] == 200


def test_everybody_else_has_the_hubs_limits_and_mounts(tmp_path: Path) -> None:
    pods = Pods(tmp_path, **RICH)
    for name in ("mary@uni.example", "somebody-else"):
        pod = pods.start(name)
        assert pod.spec.containers[0].resources.limits == {"memory": 2 * GIB, "cpu": 1}
        assert pod.spec.containers[0].resources.requests == {"memory": GIB, "cpu": 0.05}
        assert {path for path in mounts(pod) if "groups" in path or path.startswith("/opt")} == set()
    assert mounts(pods.start("ada@uni.example"))["/home/jovyan/work/shared"][2] is False


def test_an_environment_stays_as_it_is_written(tmp_path: Path) -> None:
    environment = Pods(tmp_path, **RICH).start("mary@uni.example").spec.containers[0].env
    (greeting,) = [entry.value for entry in environment if entry.name == "GREETING"]
    # Kubernetes makes one of each two $: https://pkg.go.dev/k8s.io/kubernetes/third_party/forked/golang/expansion
    assert greeting.replace("$$", "$") == "{hello} $(USER) $$ -"


def test_without_anything_shared_there_is_no_volume(tmp_path: Path) -> None:
    keys = HUBS["nothing shared"]
    assert set(mounts(Pods(tmp_path, **keys).start("ada"))) == {"/home/jovyan/work"}
    assert list(yaml.safe_load_all(exported(**keys)["volumes.yaml"])) == []
    assert "volumes.yaml" not in exported(**keys)["README.md"]


class Door:
    """The chart's authenticator of a hub, with carrel.py's rules. Only the provider is missing."""

    def __init__(self, folder: Path, cls: type[Any], **keys: Any) -> None:
        pods = Pods(folder, **keys)
        config = pods.values["hub"]["config"]
        pods.config.merge(Config({name: config[name] for name in ("Authenticator", cls.__name__)}))
        self.one = cls(config=pods.config)

    def let_in(self, identity: str, **account: Any) -> tuple[str, bool] | None:
        """The name of whoever logs in, and whether as an admin."""

        async def authenticate(handler: Any, data: Any) -> Any:
            state = {self.one.user_auth_state_key: account, "scope": []}
            name = self.one.normalize_username(identity)
            return {"name": name, "admin": True if name in self.one.admin_users else None, "auth_state": state}

        self.one.authenticate = authenticate
        model = asyncio.run(self.one.get_authenticated_user(None, {}))
        return (model["name"], bool(model["admin"])) if model else None


def test_the_same_people_may_log_in(tmp_path: Path) -> None:
    door = Door(tmp_path, GenericOAuthenticator, **RICH)
    identities = ("Ada@uni.example", "grace@uni.example", "mallory@uni.example", "eve@uni.example")
    assert {identity: door.let_in(identity) for identity in identities} == {
        "Ada@uni.example": ("ada@uni.example", True),
        "grace@uni.example": ("grace@uni.example", False),
        "mallory@uni.example": None,
        "eve@uni.example": None,
    }
    # At the provider, the shortened name can be somebody else's.
    assert door.let_in("ada--uni-example") is None


def test_who_is_blocked_or_held_is_no_guest_there(tmp_path: Path) -> None:
    guests = {"type": "oidc", **OIDC, "guests": True, "settings": {"allow_all": True}}
    held = {"name": "Grace@uni.example", "state": "held"}
    keys = {"authenticator": guests, "users": ["Ada@uni.example", held], "groups": {}}
    door = Door(tmp_path, GenericOAuthenticator, **{**RICH, **keys})
    for identity in ("mallory@uni.example", "Mallory@uni.example", "grace@uni.example"):
        assert door.let_in(identity) is None, identity
    assert door.let_in("Eve.Newton@uni.example") == ("eve.newton@uni.example", False)
    # Somebody else at the provider; it has neither Ada's name nor her rights.
    assert door.let_in("ada--uni-example") == ("ada--uni-example", False)


def test_an_address_that_is_not_verified_lets_nobody_in(tmp_path: Path) -> None:
    by_address = {"type": "oidc", **OIDC, "username_claim": "email"}
    door = Door(tmp_path, GenericOAuthenticator, **{**RICH, "authenticator": by_address})
    for said in ({}, {"email_verified": True}, {"email_verified": "true"}):
        assert door.let_in("grace@uni.example", **said) == ("grace@uni.example", False)
    for said in ({"email_verified": False}, {"email_verified": "false"}):
        with pytest.raises(web.HTTPError, match="has not verified your e-mail address"):
            door.let_in("grace@uni.example", **said)
    (tmp_path / "other").mkdir()
    assert Door(tmp_path / "other", GenericOAuthenticator, **RICH).let_in("grace@uni.example", email_verified=False)


def test_google_must_have_verified_an_address_there_too(tmp_path: Path) -> None:
    guests = {"type": "google", **CLIENT, "guests": True, "settings": {"allow_all": True}}
    door = Door(tmp_path, GoogleOAuthenticator, authenticator=guests)
    assert door.let_in("ada", verified_email=True) == ("ada", False)
    for said in ({}, {"verified_email": False}):
        with pytest.raises(web.HTTPError, match="has not verified your e-mail address"):
            door.let_in("ada", **said)


def test_the_certificate_of_a_directory_is_checked() -> None:
    ldap = {"type": "ldap", "server_address": "ldap.uni.example"}
    found = LDAPAuthenticator(config=Config(values(exported(**HUBS["ldap"]))["hub"]["config"]))
    assert Tls(**found.tls_kwargs).validate == ssl.CERT_REQUIRED
    assert found.tls_kwargs["ca_certs_file"] == "/etc/ssl/certs/ca-certificates.crt"
    own = {"ca_certs_file": "/etc/ssl/own.pem"}
    files = exported(authenticator={**ldap, "settings": {"tls_kwargs": own}})
    assert values(files)["hub"]["config"]["LDAPAuthenticator"]["tls_kwargs"] == {"validate": 2, **own}


def test_servers_reach_what_egress_allows_and_nothing_else() -> None:
    policy = values(exported(**RICH))["singleuser"]["networkPolicy"]
    assert [rule["to"][0]["ipBlock"]["cidr"] for rule in policy["egress"]] == ["192.0.2.0/24", "10.1.2.3/32"]
    allowed = {name for name, on in policy["egressAllowRules"].items() if on}
    assert policy["enabled"] and all(name.startswith("dnsPorts") for name in allowed)
    assert values(exported(egress={"allow": []}))["singleuser"]["networkPolicy"]["egress"] == []
    assert values(exported())["singleuser"]["networkPolicy"]["egressAllowRules"]["nonPrivateIPs"]


# Why these keys of a hub in the plan's result mean nothing to the chart.
ELSEWHERE = {
    "state": "the playbook leaves out those that are absent",
    "moved_to": "the playbook leaves out those that were moved",
    "moved_from": "of hosts",
    "engine": "of hosts",
    "port": "of hosts",
    "backend": "a volume each is all that there is in a cluster",
    "public_port": "in url",
    "pull": "Kubernetes pulls when a pod starts, by its own rules",
    "start_timeout_seconds": "of the site playbook",
    "smoke": "of the site playbook",
    "smoke_timeout_seconds": "of the site playbook",
    "allow_no_users": "of the plan",
    "own": "says in words what other keys have",
    "gpu_devices": "in the limit gpus",
}


def test_no_key_is_forgotten() -> None:
    """What the chart does not get stands in the notes, or above."""
    room = ROOT / "plugins/module_utils/_kubernetes"
    read = set(re.findall(r"[\"'](\w+)[\"']", "".join(path.read_text() for path in room.glob("*.py"))))
    keys = good([hub()])["hub_instances"][0].keys()
    assert keys - read - ELSEWHERE.keys() == set()
    assert ELSEWHERE.keys() <= keys


@pytest.mark.parametrize("kind", ["several", "custom"])
def test_authenticators_that_are_not_exported_let_nobody_in_and_no_secret_is_handed_on(kind: str) -> None:
    files = exported(**HUBS[kind])
    assert values(files)["hub"]["config"]["JupyterHub"]["authenticator_class"] == "null"
    for secret in (GIT["client_secret"], "platform.uni.example", "a key of the tool"):
        assert secret not in "".join(files.values())
    assert "Nobody can log in yet" in files["README.md"]


def test_settings_that_admit_or_make_admins_count_no_more_than_here() -> None:
    idp = {"https://idp.uni.example/shibboleth": {"username_derivation": {"username_claim": "eppn"}}}
    admitting = {key: {**entry, "allowed_domains": ["uni.example"]} for key, entry in idp.items()}
    cilogon = {"type": "cilogon", **CLIENT, "settings": {"allowed_idps": admitting}}
    files = exported(authenticator=cilogon)
    assert values(files)["hub"]["config"]["CILogonOAuthenticator"]["allowed_idps"] == idp
    assert "Settings of the authenticator (allowed_idps)" in files["README.md"]
    open_to_guests = values(exported(authenticator={**cilogon, "guests": True}))["hub"]["config"]
    assert open_to_guests["CILogonOAuthenticator"]["allowed_idps"] == admitting
    groups = {"admin_google_groups": {"uni.example": ["staff"]}, "hosted_domain": ["uni.example"]}
    google = exported(authenticator={"type": "google", **CLIENT, "settings": groups})
    found = values(google)["hub"]["config"]["GoogleOAuthenticator"]
    assert "admin_google_groups" not in found and found["hosted_domain"] == ["uni.example"]


@pytest.mark.parametrize(
    ("keys", "days"),
    [
        ({"authenticator": {"type": "oidc", **OIDC}}, None),
        ({"authenticator": {"type": "oidc", **OIDC, "guests": True, "settings": {"allow_all": True}}}, 1),
        (HUBS["github"], 1),
        (
            {
                "authenticator": {"type": "oidc", **OIDC, "settings": {"auth_state_groups_key": "oauth_user.groups"}},
                "groups": {"stars": {"provider_groups": ["staff"]}},
            },
            1,
        ),
    ],
)
def test_sessions_that_the_provider_decides_on_end_after_a_day(keys: dict[str, Any], days: int | None) -> None:
    assert values(exported(**keys))["hub"]["config"]["JupyterHub"].get("cookie_max_age_days") == days


def test_nobody_signs_up_under_the_name_of_another() -> None:
    assert values(exported())["hub"]["config"]["NativeAuthenticator"]["enable_signup"] is False


def test_a_thousand_users_fit_in_a_secret() -> None:
    users = [{"name": f"student{number}", "memory": f"{1 + number % 3}G"} for number in range(1000)]
    groups = {f"course{number}": {"members": [f"student{number}"]} for number in range(50)}
    assert len(json.dumps(z2jh.people(good([hub(users=users, groups=groups)])["hub_instances"][0]))) < 1 << 18


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, ["JupyterHub 5.5.0", "Passwords", "class101-shared", "class101-tls"]),
        (RICH, ["statistics", "pids", "swap", "shm_size", "users_view", "PostgreSQL", "01:25", "normalize_usernames"]),
        (HUBS["azuread"], ["signature"]),
        (HUBS["ldap"], ["`ca_certs_file` in `tls_kwargs`", "servers reach no private addresses"]),
        (
            LEFT,
            [
                "- **WARNING: proxy.directives.**",
                "devices (vendor.com/camera=0)",
                "backup.",
                "sharing.",
                "prune and",
                "gpus.** Install",
                "WARNING: egress of the groups stars.",
            ],
        ),
        (HUBS["several"], ["Nobody can log in yet: the chart has one authenticator"]),
    ],
    ids=["plain", "rich", "azuread", "ldap", "left", "several"],
)
def test_the_notes_say_what_stays_behind(keys: dict[str, Any], said: list[str]) -> None:
    notes = exported(**keys)["README.md"]
    assert [word for word in said if word not in notes] == []


def test_the_notes_say_whose_files_are_whose() -> None:
    notes = exported(**{**RICH, "blocked_users": ["mallory--uni-example"]})["README.md"]
    assert "- `data/users/ada-2d-2duni-2dexample`: ada@uni.example\n" in notes
    assert "WARNING: blocked_users (mallory--uni-example)." in notes
    assert "## Names" not in exported()["README.md"]
    held = [*RICH["users"], {"name": "Lise@uni.example", "state": "held"}]
    guests = {"type": "oidc", **OIDC, "guests": True, "settings": {"allow_all": True}}
    notes = exported(**{**RICH, "users": held, "authenticator": guests})["README.md"]
    assert "- `data/users/lise-2d-2duni-2dexample`: lise@uni.example\n" in notes and "WARNING: guests' folders" in notes


def test_notes_are_only_about_what_is_there() -> None:
    notes = exported(authenticator={"type": "github", **CLIENT}, users=["ada"], groups={})["README.md"]
    for word in ("Passwords", "swap", "pids", "reset", "users_view", "PostgreSQL", "registry.invalid"):
        assert word not in notes


def export(
    folder: Path, *more: str, inventory: Path = Path("inventories/example/hosts.yml")
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ansible-playbook", "-i", str(inventory), "playbooks/export_z2jh.yml",
         "-e", f"jupyter_z2jh_directory={folder}", *more],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


FILES = {"values.yaml", "secrets.yaml", "volumes.yaml", "README.md"}


def test_the_playbook_writes_secrets_for_its_user_alone(tmp_path: Path) -> None:
    unknown = export(tmp_path, "-e", "jupyter_instances_only=class102")
    said = " ".join(unknown.stdout.split())
    assert unknown.returncode and "'class102' (did you mean class101?). Hubs there: class101. Nothing" in said
    assert list(tmp_path.iterdir()) == []
    folder = tmp_path / "class101"
    preview = export(tmp_path, "--check", "--diff")
    assert preview.returncode == 0 and list(tmp_path.iterdir()) == [], preview.stdout
    assert {name for name in FILES if f"would be written: {folder}/{name}" in preview.stdout} == FILES
    first = export(tmp_path)
    assert first.returncode == 0, first.stdout
    assert mode(folder) == 0o700 and mode(folder / "secrets.yaml") == 0o600
    assert {path.name for path in folder.iterdir()} == FILES
    assert "change-me" not in first.stdout + preview.stdout and "has no labs: tao" in first.stdout


def test_the_playbook_leaves_a_folder_as_open_as_it_is_unless_others_can_write_there(tmp_path: Path) -> None:
    folder = tmp_path / "class101"
    folder.mkdir()
    folder.chmod(0o757)
    refused = export(tmp_path)
    said = " ".join(refused.stdout.split())
    assert refused.returncode and f"others can write in {folder}, so they could get the secrets" in said
    assert list(folder.iterdir()) == []
    folder.chmod(0o755)
    (folder / "secrets.yaml").touch(0o644)
    assert export(tmp_path).returncode == 0
    assert mode(folder) == 0o755 and mode(folder / "secrets.yaml") == 0o600
    (folder / "values.yaml").unlink()
    preview = export(tmp_path, "--check").stdout
    assert {name for name in FILES if f"would be written: {folder}/{name}" in preview} == {"values.yaml"}


HOSTS = """
all:
  vars:
    jupyter_tls: selfsigned
    class: {{name: class101, kind: hub, url: "https://class101.example.org", image: "lab:1.0", users: [ada]}}
  hosts:
    lab1: {{jupyter_instances: ["{{{{ class | combine({lab1}) }}}}"]}}
    lab2: {{jupyter_instances: ["{{{{ class | combine({lab2}) }}}}"]}}
"""


def test_two_hosts_do_not_write_one_folder(tmp_path: Path) -> None:
    hosts, folder = tmp_path / "hosts.yml", tmp_path / "z2jh"
    hosts.write_text(HOSTS.format(lab1="{}", lab2="{}"))
    both = export(folder, inventory=hosts)
    said = " ".join(both.stdout.split())
    assert both.returncode and not folder.exists(), both.stdout
    assert "class101 is on lab1 and on lab2. Each would replace the files of the other: name one host with -e" in said
    assert export(folder, "-e", "jupyter_hosts=lab2", inventory=hosts).returncode == 0
    shutil.rmtree(folder)
    hosts.write_text(HOSTS.format(lab1="{'state': 'held', 'moved_to': 'lab2', 'users': ['old']}", lab2="{}"))
    moved = export(folder, inventory=hosts)
    assert moved.returncode == 0, moved.stdout
    assert "ada" in (folder / "class101/values.yaml").read_text()
    assert plugin.twice({"lab1": ["a", "b"], "lab2": ["b"]}, ["a"]) == []


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_lab_beside_a_hub_changes_nothing() -> None:
    assert plugin.files(good([lab(), hub()]), "class101", PROGRAM) == exported()
