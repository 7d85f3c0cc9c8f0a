# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a container differs from its declaration. The samples are Docker 26's answers about a lab."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.carrel.jupyter.plugins.filter import hub as hub_filter
from ansible_collections.carrel.jupyter.plugins.filter import lab as lab_filter
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._engine import docker_login, egress
from ansible_collections.carrel.jupyter.plugins.module_utils._host import (
    claims,
    hub_drift,
    image_cache,
    image_probe,
    lab_drift,
    removal,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host.compose_project import made_anew
from ansible_collections.carrel.jupyter.plugins.module_utils._host.drift import (
    Found,
    Project,
    Surroundings,
    looked,
    strangers,
)
from ansible_collections.carrel.jupyter.plugins.module_utils._host.engine_api import EngineError
from ansible_collections.carrel.jupyter.plugins.module_utils._report import printable
from ansible_collections.carrel.jupyter.plugins.module_utils._site import container, drift, hub, hub_smoke, lab
from ansible_collections.carrel.jupyter.plugins.modules import instance_drift
from test_hub_project import IMAGE as HUB_IMAGE
from test_hub_project import instance, user
from test_hub_project import project as hub_project
from test_lab import project
from test_status_strangers import docker, engine, silent

ID = "sha256:8a64c38e448c"
IMAGE = {
    "Id": ID,
    "Config": {
        "User": "1000:100", "Cmd": ["jupyter-lab", "--no-browser"], "Entrypoint": ["tini", "--"], "Volumes": None,
        "Env": ["PATH=/opt/conda/bin:/usr/bin:/bin", "LANG=C.UTF-8"],
    },
}  # fmt: skip
ENVIRONMENT = {"JUPYTER_AUTOSHUTDOWN_TIMEOUT": "0", "JUPYTER_CONFIG_PATH": "/etc/carrel", "PRICE": "$5"}
DECIDED = project(
    limits={"memory": 2**30, "cpus": 1.5, "pids": 500}, environment={"PRICE": "$5"}, command=["sh", "-c", "echo $HOME"]
)
SERVICE = lab.labelled(DECIDED, "one")["services"]["lab-1"]
CONTAINER: dict[str, Any] = {
    "Image": ID,
    "Config": {
        "Hostname": "tao", "User": "1000:100", "Image": "lab:1", "Cmd": ["sh", "-c", "echo $HOME"],
        "Entrypoint": ["tini", "--"],
        "Env": [
            "PRICE=$5", "JUPYTER_AUTOSHUTDOWN_TIMEOUT=0", "JUPYTER_CONFIG_PATH=/etc/carrel",
            "PATH=/opt/conda/bin:/usr/bin:/bin", "LANG=C.UTF-8",
        ],
        "Healthcheck": {
            "Test": ["CMD", "/opt/conda/bin/python3", "/etc/carrel/healthcheck.py", "/tao/"],
            "Interval": 30000000000, "Timeout": 10000000000, "StartPeriod": 120000000000,
            "StartInterval": 1000000000, "Retries": 3,
        },
        "Labels": {**SERVICE["labels"], "com.docker.compose.project": "tao", "com.docker.compose.service": "lab-1"},
    },
    "HostConfig": {
        "PortBindings": {"8888/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8801"}]},
        "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
        "CapAdd": None, "CapDrop": ["ALL"], "GroupAdd": None, "IpcMode": "private", "PidMode": "", "Privileged": False,
        "ReadonlyRootfs": False, "SecurityOpt": ["no-new-privileges:true"], "UTSMode": "", "UsernsMode": "",
        "ShmSize": 67108864, "Runtime": "runc", "Memory": 2**30, "NanoCpus": 1500000000, "CgroupParent": "",
        "Devices": None, "DeviceRequests": None, "MemorySwap": 2**30, "PidsLimit": 500, "VolumesFrom": None,
        "Ulimits": [{"Name": "core", "Hard": 0, "Soft": 0}],
    },
    "Mounts": [
        {"Type": "bind", "Source": "/srv/tao/data/notebooks", "Destination": "/home/jovyan/work", "RW": True},
        {"Type": "bind", "Source": "/srv/tao/server", "Destination": "/etc/carrel", "RW": False},
    ],
    "NetworkSettings": {"Networks": {"tao_default": {"NetworkID": "b7cc"}}},
}  # fmt: skip


def compared(there: dict[str, Any], service: dict[str, Any] = SERVICE) -> container.Differences:
    return container.differences("tao", service, ENVIRONMENT, IMAGE, there, "/srv/tao/login")


def differences(there: dict[str, Any], service: dict[str, Any] = SERVICE) -> list[str]:
    return compared(there, service).texts


def test_a_container_as_declared() -> None:
    assert differences(CONTAINER) == []


def _set(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(there: dict[str, Any]) -> None:
        *above, last = path
        for key in above:
            there = there[key]
        there[last] = value

    return change


HOST = "HostConfig"
BY_HAND: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (_set("Config", "Image", value="lab:2"), "image lab:2 instead of lab:1"),
    (_set("Config", "User", value="0"), "user 0 instead of 1000:100"),
    (_set("Config", "Cmd", value=["bash"]), 'command ["bash"] instead of ["sh", "-c", "echo $HOME"]'),
    (_set("Config", "Entrypoint", value=None), 'entrypoint none instead of ["tini", "--"]'),
    (_set("Config", "Hostname", value="tux"), "hostname tux instead of tao"),
    (_set("Config", "Healthcheck", "Retries", value=9), "healthcheck"),
    (lambda there: there["Config"]["Env"].append("MORE=1"), "environment MORE"),
    (lambda there: there["Config"]["Env"].pop(), "environment LANG"),
    (_set(HOST, "Memory", value=2**31), "mem limit 2147483648 instead of 1073741824"),
    (_set(HOST, "MemorySwap", value=2**31), "memswap limit 2147483648 instead of 1073741824"),
    (_set(HOST, "NanoCpus", value=0), "cpus none instead of 1.5"),
    (_set(HOST, "PidsLimit", value=None), "pids limit none instead of 500"),
    (_set(HOST, "Ulimits", value=[]), 'ulimits none instead of [["core", 0, 0]]'),
    (_set(HOST, "CapDrop", value=None), 'cap drop none instead of ["ALL"]'),
    (_set(HOST, "CapAdd", value=["CAP_SYS_ADMIN"]), 'cap add ["SYS_ADMIN"] instead of none'),
    (_set(HOST, "SecurityOpt", value=[]), 'security opt none instead of ["no-new-privileges:true"]'),
    (_set(HOST, "ReadonlyRootfs", value=True), "read only true instead of none"),
    (_set(HOST, "RestartPolicy", "Name", value="no"), "restart no instead of unless-stopped"),
    (_set(HOST, "PortBindings", "8888/tcp", 0, "HostIp", value="0.0.0.0"), "ports"),
    (_set(HOST, "Privileged", value=True), "Privileged true, which is not declared"),
    (_set(HOST, "PidMode", value="host"), "PidMode host, which is not declared"),
    (_set(HOST, "IpcMode", value="host"), "IpcMode host, which is not declared"),
    (_set(HOST, "DeviceRequests", value=[{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0"]}]), "deploy"),
    (_set(HOST, "Devices", value=[{"PathOnHost": "/dev/fuse"}]), "Devices"),
    (_set(HOST, "Annotations", value={"carrel.egress": ""}), 'annotations {"carrel.egress": ""} instead of none'),
    (_set("Mounts", 1, "RW", value=True), "mount at /etc/carrel /srv/tao/server rw instead of /srv/tao/server ro"),
    (lambda there: there["Mounts"].pop(), "mount at /etc/carrel none instead of /srv/tao/server ro"),
    (
        lambda there: there["Mounts"].append({"Type": "bind", "Source": "/", "Destination": "/host", "RW": True}),
        "mount at /host / rw instead of none",
    ),
    (_set("NetworkSettings", "Networks", value={"host": {}}), 'networks ["host"] instead of ["tao_default"]'),
]


@pytest.mark.parametrize(("change", "said"), BY_HAND, ids=[said for _unused, said in BY_HAND])
def test_changes_to_a_container_are_reported(change: Callable[[dict[str, Any]], None], said: str) -> None:
    there = copy.deepcopy(CONTAINER)
    change(there)
    (found,) = differences(there)
    assert found.startswith(f"the container was changed by hand: {said}")
    assert compared(there).by_hand


PAGE = "/opt/conda/share/login.html"
OTHERWISE: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (_set("Image", value="sha256:other"), "an older image than lab:1 is now"),
    (_set("Config", "Env", 0, value="PRICE=$6"), "environment PRICE"),
    (_set("Config", "Labels", "carrel.server-config", value="two"), "label carrel.server-config"),
    (
        lambda there: there["Mounts"].append(
            {"Type": "bind", "Source": "/srv/tao/login/8a64/0.html", "Destination": PAGE, "RW": False}
        ),
        f"mount at {PAGE} /srv/tao/login/8a64/0.html ro instead of none",
    ),
]


@pytest.mark.parametrize(("change", "said"), OTHERWISE, ids=[said for _unused, said in OTHERWISE])
def test_what_compose_recreates_by_itself_is_not_a_change_by_hand(
    change: Callable[[dict[str, Any]], None], said: str
) -> None:
    there = copy.deepcopy(CONTAINER)
    change(there)
    assert differences(there) == ["the container was made from another declaration", said]
    assert compared(there).by_hand == []


def test_another_token_of_a_hub_s_proxy_was_not_set_by_hand() -> None:
    there = copy.deepcopy(CONTAINER)
    there["Config"]["Env"].append("CONFIGPROXY_AUTH_TOKEN=old")
    environment = {**ENVIRONMENT, "CONFIGPROXY_AUTH_TOKEN": "new"}
    found = container.differences("tao", SERVICE, environment, IMAGE, there)
    assert found.texts == ["the container was made from another declaration", "environment CONFIGPROXY_AUTH_TOKEN"]
    assert found.by_hand == []


def test_users_networks_which_the_hub_joins_are_nobody_s_change() -> None:
    there = copy.deepcopy(CONTAINER)
    there["NetworkSettings"]["Networks"]["tao_users_ada"] = {}
    assert differences(there) == []
    there["NetworkSettings"]["Networks"]["tao_usersada"] = {}
    assert len(differences(there)) == 1


@pytest.mark.parametrize("cpus", [2.25, 4.5, 9, 11])
def test_compose_keeps_32_bits_of_the_cpus(cpus: float) -> None:
    import struct

    kept = struct.unpack("f", struct.pack("f", cpus * 1e9))[0]
    there = copy.deepcopy(CONTAINER)
    there["HostConfig"]["NanoCpus"] = int(kept)
    service = {**SERVICE, "cpus": cpus}
    assert differences(there, service) == []
    there["HostConfig"]["NanoCpus"] = int(kept * 1.01)
    assert len(differences(there, service)) == 1


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "NO_PROXY", "ftp_proxy", "all_proxy"])
def test_proxies_of_the_caller_s_docker_are_no_difference(name: str) -> None:
    there = copy.deepcopy(CONTAINER)
    there["Config"]["Env"].append(f"{name}=http://proxy:3128")
    assert differences(there) == []
    found = container.differences("tao", SERVICE, {**ENVIRONMENT, name: "http://other:3128"}, IMAGE, there)
    assert f"environment {name}" in found.texts


@pytest.mark.parametrize(
    ("key", "value"), [("Runtime", "crun"), ("IpcMode", "shareable"), ("ShmSize", 2**27), ("MemorySwap", -1)]
)
def test_choices_of_the_engine_are_no_differences(key: str, value: object) -> None:
    there = copy.deepcopy(CONTAINER)
    there["HostConfig"][key] = value
    assert differences(there) == []


def test_a_declared_size_of_shared_memory_is_compared() -> None:
    assert differences(CONTAINER, {**SERVICE, "shm_size": "1g"}) == [
        "the container was changed by hand: shm size 67108864 instead of 1073741824"
    ]


def test_declared_graphics_cards_are_no_difference() -> None:
    service = lab.labelled(project(devices=["nvidia.com/gpu=1", "nvidia.com/gpu=0"]), "one")["services"]["lab-1"]
    there = copy.deepcopy(CONTAINER)
    request = {"Driver": "cdi", "Count": 0, "DeviceIDs": ["nvidia.com/gpu=0", "nvidia.com/gpu=1"], "Options": None}
    there["HostConfig"]["DeviceRequests"] = [request]
    assert not [text for text in differences(there, service) if "deploy" in text]


def test_limits_on_where_a_lab_connects_to_are_compared() -> None:
    service = {**SERVICE, **egress.in_compose({"allow": ["192.0.2.0/24"]})}
    there = copy.deepcopy(CONTAINER)
    there["HostConfig"].update(Runtime="carrel-egress", Annotations={"carrel.egress": "192.0.2.0/24"})
    assert differences(there, service) == []
    there["HostConfig"].update(Runtime="runc", Annotations=None)
    assert [text.partition(": ")[2] for text in differences(there, service)] == [
        "runtime runc instead of carrel-egress", 'annotations none instead of {"carrel.egress": "192.0.2.0/24"}',
    ]  # fmt: skip


def test_a_container_of_an_older_declaration_is_recognized() -> None:
    service = lab.labelled(project(limits={"memory": 2**30}, environment={"PRICE": "$5"}), "one")["services"]["lab-1"]
    found = differences(CONTAINER, service)
    assert found[0] == "the container was made from another declaration"
    assert "cpus 1.5 instead of none" in found and not any("by hand" in text for text in found)


def test_a_container_that_somebody_ran_was_made_by_hand() -> None:
    there = copy.deepcopy(CONTAINER)
    there["Config"]["Labels"] = None
    assert differences(there)[0] == "the container was made by hand"


def test_values_of_the_environment_are_never_shown() -> None:
    there = copy.deepcopy(CONTAINER)
    there["Config"]["Env"][0] = "PRICE=xq7SECRET"
    assert "SECRET" not in str(differences(there)) and "$5" not in str(differences(there))


def test_an_image_s_own_volumes_are_nobody_s_doing() -> None:
    there = copy.deepcopy(CONTAINER)
    there["Mounts"].append({"Type": "volume", "Source": "/srv/docker/x", "Destination": "/cache", "RW": True})
    assert len(differences(there)) == 1
    image = {**IMAGE, "Config": {**IMAGE["Config"], "Volumes": {"/cache": {}}}}  # type: ignore[dict-item]
    assert container.differences("tao", SERVICE, ENVIRONMENT, image, there).texts == []


def test_every_key_of_our_projects_can_be_compared() -> None:
    """A key that a service gets and nobody compares would never be mended."""
    projects = [lab.labelled(DECIDED, "one"), hub.labelled(hub_project(), "one")]
    for service in (service for each in projects for service in each["services"].values()):
        assert [text for text in differences(CONTAINER, service) if "cannot be compared" in text] == []
    (found,) = [text for text in differences(CONTAINER, {**SERVICE, "sysctls": {}}) if "sysctls" in text]
    assert found.endswith("sysctls cannot be compared")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (None, File(b"a"), "/x is missing"),
        (None, "directory 0:0 0711\n", "/x is missing"),
        ("present\n", None, "/x should not be there"),
        (File(b"a"), File(b"b"), "/x has other content"),
        (File(b"a"), File(b"a", 0o600), "/x has mode 0644 instead of 0600"),
        (File(b"a"), File(b"a", uid=1, gid=2), "/x belongs to 0:0 instead of 1:2"),
        (File(b"a", 0o666), File(b"b"), "/x has other content and has mode 0666 instead of 0644"),
        ("mode 0755\n", "mode 0711\n", "/x has mode 0755 instead of 0711"),
        ("mode 0750, group 1\n", "mode 0750, group 2\n", "/x has mode 0750, group 1 instead of 0750, group 2"),
        ("<html>", "<html><p>", "/x has other content"),
    ],
)
def test_files(before: object, after: object, said: str) -> None:
    assert drift.file_reason("/x", before, after) == said


def listed(name: str, **labels: str) -> dict[str, Any]:
    return {"Id": "1", "Names": [f"/{name}"], "Labels": {key.replace("_", "."): value for key, value in labels.items()}}


def test_containers_that_belong_to_nobody() -> None:
    of_tao = {"com_docker_compose_project": "tao"}
    containers = [
        listed("tao-lab-1-1", **of_tao, com_docker_compose_service="lab-1"),
        listed("tao-old-1", **of_tao, com_docker_compose_service="old"),
        listed("jupyter-ada", carrel_instance="class"),
        listed("a-drill", carrel_drill="class"),
        listed("postgres"),
        {"Id": "nameless"},
    ]
    assert drift.orphans("tao", lab.SERVICES, containers) == [
        "the container tao-old-1 is of no service that is declared"
    ]
    assert drift.strangers(["tao", "class"], containers) == ["nameless", "postgres"]
    assert drift.strangers(["tao"], containers) == ["a-drill", "jupyter-ada", "nameless", "postgres"]


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("registry.example.org:5000/lab:1", "registry.example.org:5000"),
        ("jupyter/base-notebook", "https://index.docker.io/v1/"),
        ("debian", "https://index.docker.io/v1/"),
        ("docker.io/library/debian", "https://index.docker.io/v1/"),
    ],
)
def test_a_registry_is_asked_with_its_own_log_in(image: str, registry: str) -> None:
    import base64

    logins = {registry: {"auth": base64.b64encode(b"ada:pass:word").decode()}, "other.example.org": {"auth": "eA=="}}
    told = json.loads(base64.urlsafe_b64decode(docker_login.header(image, logins) or ""))
    assert (told["username"], told["password"]) == ("ada", "pass:word")
    assert docker_login.header(image, {"other.example.org": {"auth": "eA=="}}) is None


def test_the_lines_of_the_plan() -> None:
    planned = {"tao": "present", "geo": "present", "new": "present", "gone": "absent", "class": "present"}
    compared = [
        {"differing": {"geo": ["it is stopped", "/srv/geo/.env is missing"], "new": ["the engine new does not run"]}},
        {"as_declared": ["tao", "gone"], "strangers": {"geo": ["postgres", "redis"]}},
        {"skipped": True},
    ]
    assert drift.lines(planned, ["tao", "geo", "class", "old"], compared) == [
        "tao: as declared",
        "geo: it is stopped; /srv/geo/.env is missing",
        "new: missing; it is not on the host yet",
        "gone: as declared",
        "class: not compared",
        "old: on the host, but not in the inventory",
        "engine geo: containers that belong to no instance: postgres, redis",
    ]


@pytest.mark.parametrize(
    ("state", "running"),
    [("running", True), ("paused", True), ("restarting", True), ("exited", False), ("created", False), ("dead", False)],
)
def test_what_counts_as_running(tmp_path: Path, state: str, running: bool) -> None:
    container = {**listed("tao-lab-1", com_docker_compose_service="lab-1"), "State": state}
    with engine(tmp_path / "s", docker({}, [container])):
        project = Project("tao", {"socket": str(tmp_path / "s")})
        assert project.running() == (["lab-1"] if running else [])
        assert project.users_running() == (["1"] if running else [])


def test_a_container_of_compose_run_is_not_the_service_s(tmp_path: Path) -> None:
    of_lab = {"com_docker_compose_service": "lab-1"}
    containers = [
        listed("tao-lab-1-run-1", **of_lab, com_docker_compose_oneoff="True"),
        listed("tao-lab-1-1", **of_lab, com_docker_compose_oneoff="False"),
    ]
    with engine(tmp_path / "s", docker({}, containers)):
        assert Project("tao", {"socket": str(tmp_path / "s")}).containers() == containers[1:]


def test_a_paused_container_is_reported(tmp_path: Path) -> None:
    there = {**CONTAINER, **IMAGE, "Image": ID, "Config": CONTAINER["Config"]}
    there["State"] = {"Running": True, "Paused": True, "Restarting": False, "StartedAt": "2030-01-01T00:00:00Z"}
    with engine(tmp_path / "s", docker(there)):
        project = Project("tao", {"socket": str(tmp_path / "s")})
        mine = [listed("tao-lab-1-1", com_docker_compose_service="lab-1")]
        assert "it is paused; docker unpause resumes it" in project.compare(Found(), SERVICE, "lab-1", {}, mine)


def test_a_folder_that_cannot_be_read_stops_no_other_instance() -> None:
    unreadable = "/proc/sys/vm"  # not even root reads all of its files
    build = {"context": unreadable}
    labs = [{"name": "tao", "build": build, "image": None}, {"name": "geo", "build": None, "image": "lab:1"}]
    labs.append({"name": "statistics", "build": None, "image": {"declared": "statistics"}})
    assert [each["image"] for each in lab_filter.named(labs)] == [None, "lab:1", {"declared": "statistics"}]
    assert hub_filter.named([{"name": "class", "extra_packages": []}], unreadable, [])[0]["hub_image"] is None


@pytest.mark.parametrize("look", [lab_drift.look, hub_drift.look])
def test_remains_of_an_absent_instance_are_reported(
    look: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "STATE", f"{tmp_path}/{{}}")
    around = Surroundings(engines={}, programs={})
    place = tmp_path / "place"
    gone = {"name": "tao", "engine": "tao", "state": "absent", "token_file": None, "directory": str(place)}
    assert looked(look, gone, around).all_reasons() == []
    record = tmp_path / "tao" / "instance.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"directory": str(place)}))
    assert looked(look, gone, around).all_reasons() == [f"{record} is still there"]
    for make in (place.mkdir, place.rmdir, lambda: place.symlink_to("nowhere")):
        make()
        there = [f"{place} is still there"] if os.path.lexists(place) else []
        found = looked(look, gone, around)
        assert (found.all_reasons(), found.notes) == ([*there, f"{record} is still there"], [])


@pytest.mark.parametrize("look", [lab_drift.look, hub_drift.look])
def test_a_directory_that_no_record_names_is_not_a_remain(
    look: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that an administrator made, with the name of an instance that was removed, or never was."""
    monkeypatch.setattr(removal, "STATE", f"{tmp_path}/state/{{}}")
    shiny = {"name": "shiny", "engine": "shiny", "state": "absent", "token_file": None, "directory": str(tmp_path)}
    around = Surroundings(engines={}, programs={})
    found = looked(look, shiny, around)
    (note,) = found.notes
    assert not found.all_reasons() and note.startswith(f"shiny: {tmp_path} stays as it is") and "instance.json" in note
    # What is left in our own folder says nothing about the directory.
    left = tmp_path / "state" / "shiny" / "reset"
    left.parent.mkdir(parents=True)
    left.touch()
    found = looked(look, shiny, around)
    assert (found.all_reasons(), found.notes) == ([f"{left} is still there"], [note])
    (left.parent / "instance.json").write_text('{"directory": "/srv/shiny"}')
    (reason,) = looked(look, shiny, around).all_reasons()
    assert reason == "it cannot be compared, because of a ValueError"


def test_a_run_that_was_killed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or its claim would keep resets out until it ends by itself, although a run came after it."""
    monkeypatch.setattr(claims, "FILE", f"{tmp_path}/claim-{{}}")
    gone = {"name": "tao", "engine": "tao", "state": "absent", "token_file": None, "directory": str(tmp_path / "gone")}
    around = Surroundings(engines={}, programs={})
    (tmp_path / "claim-tao").write_bytes(claims.claim("a playbook", 30))
    assert looked(lab_drift.look, gone, around).all_reasons() == [
        "a playbook is changing it, or did not come to its end"
    ]
    (tmp_path / "claim-tao").write_bytes(claims.claim("a playbook", -1))
    assert looked(lab_drift.look, gone, around).all_reasons() == []


@pytest.mark.parametrize("look", [lab_drift.look, hub_drift.look])
@pytest.mark.parametrize("engines", [{}, {"tao": {"running": False, "socket": "/nowhere"}}])
def test_a_stopped_engine_is_reported(look: Callable[..., Any], engines: dict[str, Any]) -> None:
    there = {"name": "nobody-has-this", "engine": "tao", "state": "present"}
    found = looked(look, there, Surroundings(engines=engines, programs={}))
    assert found.all_reasons() == ["the engine tao does not run"]


def test_unenforceable_limits_are_reported_whatever_the_images_are(tmp_path: Path) -> None:
    engine_of_it = {"running": True, "socket": str(tmp_path / "s"), "controllers": [], "home": "/home/class101"}
    unbuilt = [{"title": "Default", "image": {"declared": "geo"}}]
    hub_instance = instance(images=unbuilt, users=[], limits={"memory": 2**30, "cpus": None, "pids": None})
    found = looked(hub_drift.look, hub_instance, Surroundings(engines={"class101": engine_of_it}, programs={}))
    assert "without their limits on memory" in found.notes[0] and "the image geo of jupyter_images" in found.reasons[0]


def test_an_image_differs_until_it_has_passed_the_smoke_notebooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run must try it again, although nothing else has changed."""
    monkeypatch.setattr(hub_drift, "STATE", str(tmp_path / "{}"))
    monkeypatch.setattr(image_cache, "OF_ENGINE", str(tmp_path / "{}" / "image.json"))
    monkeypatch.setattr(hub_smoke, "RECORD", str(tmp_path / "{}" / "smoked.json"))
    (tmp_path / "class101").mkdir()
    server = image_probe.Server("2.0", "/t", "/opt/bin/python3", "", HUB_IMAGE["servers"][0]["jupyterhub"])
    image = image_probe.Image(ID, [], [], 1000, 100, [server], True, None)
    key = image_probe.Engine(str(tmp_path / "s"), "lab:1", None, lambda _command, _text: (1, "", "")).cache_key(IMAGE)
    cached = image_cache.extend({}, key, image_probe.cache_entry(image))
    (tmp_path / "class101" / "image.json").write_bytes(cached)
    engine_of_it = {"running": True, "socket": str(tmp_path / "s"), "controllers": [], "home": "/home/class101"}
    around = Surroundings(engines={"class101": engine_of_it}, programs={})

    def compared(*notebooks: dict[str, Any], **changes: Any) -> Found:
        images = [{"title": "Default", "image": "lab:1"}]
        keys = {"smoke": list(notebooks), "settings": {}, "backups": False, "pull": "missing", "users": [], **changes}
        return looked(hub_drift.look, {**instance(images=images, **keys), "hub_image": "carrel/hub:1"}, around)

    def differs(
        *notebooks: dict[str, Any], said: str = "the image lab:1 has not passed the smoke notebooks yet"
    ) -> bool:
        return said in compared(*notebooks).reasons

    notebook = {"name": "check.ipynb", "images": [0]}
    with engine(tmp_path / "s", docker(IMAGE)):
        assert not differs() and differs(notebook)
        for passed, expected in (["sha256:old"], True), (["sha256:old", ID], False):
            (tmp_path / "class101" / "smoked.json").write_text(json.dumps(passed))
            assert differs(notebook) == expected
        killed = "a run was killed before it accepted the images that it pulled"
        assert not differs(said=killed)
        (tmp_path / "class101" / "before.json").write_text("[]")
        assert differs(said=killed)
        assert compared().notes == []
        (note,) = compared(users=[user("group-stat", server_of="stat")]).notes
        assert "the image lab:1 has no jupyter-collaboration" in note


def test_warnings_about_users_directories_are_notes(tmp_path: Path) -> None:
    (tmp_path / "data" / "users" / "Nobody-s").mkdir(parents=True)
    (tmp_path / "hub").mkdir()
    keys = {"shared": None, "colab": None, "users_view": None, "groups": []}
    decided = {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "users": [],
        "user_directories": [],
        "members": [],
        "user_mounts": [],
    }
    found = Found()
    of_it = {**instance(engine=None, directory=str(tmp_path)), **keys}
    hub_drift._people(of_it, {"gid": os.getgid()}, decided, found)
    assert "class101: " in found.notes[0] and "Nobody-s is not a user's directory" in found.notes[0]


def test_engines_that_do_not_answer_are_waited_for_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """One second for a call; one after the other, twelve would take twelve."""
    monkeypatch.setattr("ansible_collections.carrel.jupyter.plugins.module_utils._host.drift.CALL_SECONDS", 1)
    engines = {f"e{number}": {"running": True, "socket": str(tmp_path / str(number))} for number in range(12)}
    with contextlib.ExitStack() as opened:
        for about in engines.values():
            opened.enter_context(engine(Path(about["socket"]), silent))
        began = time.monotonic()
        with patch_module_args({"engines": engines, "known": []}), pytest.raises(SystemExit):
            instance_drift.main()
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["strangers"]) == set(engines) and time.monotonic() - began < 8


def test_strangers_are_bounded(tmp_path: Path) -> None:
    with engine(tmp_path / "s", docker({}, [listed("x" * 30_000 + str(number)) for number in range(100)])):
        found = strangers({"running": True, "socket": str(tmp_path / "s")}, [])
    assert len(found) == 21 and found[-1] == "and 80 more" and len(found[0]) == 20_000


def test_an_answer_about_one_project_is_bounded(tmp_path: Path) -> None:
    with engine(tmp_path / "s", docker({}, [{**listed("x" * 5 * 2**20), "State": "running"}])):
        project = Project("tao", {"socket": str(tmp_path / "s")})
        with pytest.raises(EngineError, match="more than 4194304 bytes"):
            project.containers()
        assert project.users_running() == ["1"]


def test_a_fault_keeps_what_was_found_before() -> None:
    def look(_instance: object, _around: object, found: Found) -> None:
        found.notes.append("a note")
        raise KeyError("secret")

    found = looked(look, {"name": "nobody-has-this"}, Surroundings(engines={}, programs={}))
    assert found.notes == ["a note"] and found.all_reasons() == ["it cannot be compared, because of a KeyError"]


def test_recreating_in_vain_is_a_note(tmp_path: Path) -> None:
    there = copy.deepcopy({**CONTAINER, "Id": ID})
    there["State"] = {"Running": True, "Paused": False, "Restarting": False, "StartedAt": "2030-01-01T00:00:00Z"}
    there["HostConfig"]["Privileged"] = True
    unhealthy = "it is not healthy: it has not been checked yet"

    def compare(found: Found) -> list[str]:
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        with engine(path, docker(there)):
            mine = [listed("tao-lab-2-1", com_docker_compose_service="lab-2")]
            return Project("tao", {"socket": str(path)}).compare(found, SERVICE, "lab-2", ENVIRONMENT, mine)

    first = Found()
    reasons = compare(first)
    assert reasons[0] == unhealthy and len(reasons) > 1 and list(first.by_hand) == ["lab-2"]
    written = tmp_path / "made_anew.json"
    # A reset gave the lab's place to the other service meanwhile.
    written.write_text(json.dumps({"lab-1": first.by_hand["lab-2"]}))
    second = Found(made_anew=made_anew(str(written)))
    assert compare(second) == [unhealthy]
    assert second.by_hand == {} and "still differs after it was recreated" in second.notes[0]
    assert second.in_vain == first.by_hand and not second.settled
    there["HostConfig"]["PidMode"] = "host"
    third = Found(made_anew=made_anew(str(written)))
    assert len(compare(third)) > 1 and third.by_hand and not third.notes


def test_records_of_recreation_are_removed_once_all_is_as_declared(tmp_path: Path) -> None:
    written = tmp_path / "made_anew.json"
    assert made_anew(str(written)) == {} and not Found().settled
    written.write_text('{"lab-1": ["x"]}')
    assert Found(made_anew=made_anew(str(written))).settled
    assert not Found(made_anew=made_anew(str(written)), reasons=["it is stopped"]).settled
    written.write_text("[")
    assert made_anew(str(written)) == {}


def test_answers_of_an_engine_are_shortened() -> None:
    texts = printable.bounded([f"{number}\x1b[2J" + "x" * 30_000 for number in range(100)])
    assert len(texts) == 21 and texts[-1] == "and 80 more" and "\x1b" not in texts[0]
    assert max(map(len, texts)) <= 20_000
    assert printable.bounded(["a"] * 20) == ["a"] * 20
