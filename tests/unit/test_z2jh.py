# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hubs as values of the Zero to JupyterHub chart: its schema, a real KubeSpawner and real authenticators judge them.

With `helm` on the PATH and the chart's folder in CARREL_Z2JH_CHART, helm renders it with them, too.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
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
from oauthenticator.generic import GenericOAuthenticator
from plan_helpers import good, hub, lab
from plan_hub_cases import AZURE, CLIENT, OIDC
from plan_several_cases import GIT, UNI
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
    "several": {
        "authenticator": {"type": "several", "each": [{**UNI, "prefix": ""}, GIT]},
    },
    "domains": {"user_domains": True},
    "nothing shared": {"shared": False, "colab": False, "culler": {"idle_seconds": 0}, "persist": {}},
    "a page of its own": {"login": {"template": "login.html"}, "url": "http://example.org:8080/class/", "tls": ...},
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
    pod = Pods(tmp_path, **RICH).start("grace--uni-example", times=2)
    (container,) = pod.spec.containers
    assert container.image == "registry.example.org:5000/lab:1.0"
    assert container.resources.limits == {"memory": 512 << 20, "cpu": 0.5}
    assert container.resources.requests["memory"] == 512 << 20
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
    for name in ("mary--uni-example", "somebody-else"):
        pod = pods.start(name)
        assert pod.spec.containers[0].resources.limits == {"memory": 2 * GIB, "cpu": 1}
        assert pod.spec.containers[0].resources.requests["memory"] == GIB
        assert {path for path in mounts(pod) if "groups" in path or path.startswith("/opt")} == set()
    assert mounts(pods.start("ada--uni-example"))["/home/jovyan/work/shared"][2] is False


def test_an_environment_stays_as_it_is_written(tmp_path: Path) -> None:
    environment = Pods(tmp_path, **RICH).start("mary--uni-example").spec.containers[0].env
    (greeting,) = [entry.value for entry in environment if entry.name == "GREETING"]
    # Kubernetes makes one of each two $: https://pkg.go.dev/k8s.io/kubernetes/third_party/forked/golang/expansion
    assert greeting.replace("$$", "$") == "{hello} $(USER) $$ -"


def test_without_anything_shared_there_is_no_volume(tmp_path: Path) -> None:
    keys = HUBS["nothing shared"]
    assert set(mounts(Pods(tmp_path, **keys).start("ada"))) == {"/home/jovyan/work"}
    assert list(yaml.safe_load_all(exported(**keys)["volumes.yaml"])) == []
    assert "volumes.yaml" not in exported(**keys)["README.md"]


def test_the_same_people_may_log_in(tmp_path: Path) -> None:
    config = values(exported(**RICH))["hub"]["config"]
    authenticator = GenericOAuthenticator(
        config=Config({name: config[name] for name in ("Authenticator", "GenericOAuthenticator")})
    )
    found = {}
    for identity in ("Ada@uni.example", "grace@uni.example", "mallory@uni.example", "eve@uni.example"):
        name = authenticator.normalize_username(identity)
        model = {"name": name, "admin": None, "auth_state": {"oauth_user": {}, "scope": []}}
        allowed = asyncio.run(authenticator.check_allowed(name, model))
        found[name] = (bool(allowed), name in authenticator.admin_users)
    assert found == {
        "ada--uni-example": (True, True),
        "grace--uni-example": (True, False),
        "mallory@uni.example": (False, False),
        "eve@uni.example": (False, False),
    }


def test_several_authenticators_let_nobody_in_there_and_no_secret_is_handed_on() -> None:
    files = exported(**HUBS["several"])
    assert values(files)["hub"]["config"]["JupyterHub"]["authenticator_class"] == "null"
    assert GIT["client_secret"] not in "".join(files.values())


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
        (HUBS["several"], ["Nobody can log in yet: the chart has one authenticator"]),
    ],
    ids=["plain", "rich", "azuread", "several"],
)
def test_the_notes_say_what_stays_behind(keys: dict[str, Any], said: list[str]) -> None:
    notes = exported(**keys)["README.md"]
    assert [word for word in said if word not in notes] == []


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
    assert unknown.returncode and "no hub is called class102; there are class101" in " ".join(unknown.stdout.split())
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
