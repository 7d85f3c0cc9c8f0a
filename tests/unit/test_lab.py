# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.version import VERSION
from ansible_collections.carrel.jupyter.plugins.module_utils._site import compose as _compose
from ansible_collections.carrel.jupyter.plugins.module_utils._site import lab

ENGINE = {
    "uid": 1001, "gid": 1002, "controllers": ["cpu", "memory", "pids"],
    "subuid": {"start": 200000, "count": 65536}, "subgid": {"start": 300000, "count": 65536},
}  # fmt: skip
IMAGE = {"image": "lab:1", "image_id": "sha256:abc", "uid": 1000, "gid": 100, "python": "/opt/conda/bin/python3"}


def instance(**changes: Any) -> dict[str, Any]:
    return {
        "name": "tao", "state": "present", "engine": "tao", "directory": "/srv/tao",
        "url": "https://example.org/tao/",
        "base_url": "/tao/", "port": 8801, "second_port": 8802, "user": None, "owner": None, "command": None,
        "sudo": None,
        "notebooks": "/home/jovyan/work", "persist": {}, "volumes": [],
        "environment": {}, "collaboration": None, "idle_shutdown_seconds": 0,
        "devices": [], "egress": None, "limits": {}, "start_timeout_seconds": 120, "server_settings": {}, "own": [],
        "token_file": "/srv/tao/token",
        **changes,
    }  # fmt: skip


def project(image: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return lab.project(instance(**changes), ENGINE, {**IMAGE, **(image or {})})


def service(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = project(**changes)["compose"]["services"]["lab-1"]
    return found


@pytest.mark.parametrize(
    ("image", "changes", "expected"),
    [
        ({}, {}, (200999, 300099)),
        ({"uid": 0, "gid": 0}, {}, (1001, 1002)),
        ({"uid": 0, "gid": 0}, {"owner": "1000:100"}, (200999, 300099)),
    ],
)
def test_the_data_belongs_to_the_mapped_id(
    image: dict[str, Any], changes: dict[str, Any], expected: tuple[int, int]
) -> None:
    decided = project(image, **changes)
    leaf = next(entry for entry in decided["directories"] if entry["path"] == "/srv/tao/data/notebooks")
    assert (leaf["owner"], leaf["group"]) == expected


def test_the_server_reads_its_settings_whoever_owns_the_data() -> None:
    decided = project({"uid": 0, "gid": 0}, owner="1000:100")
    assert (decided["server_owner"], decided["server_group"]) == (1001, 1002)


def test_an_id_outside_of_the_range_is_an_error() -> None:
    with pytest.raises(ValueError, match="the container's id 70000 is outside of the 65536 ids"):
        project({"uid": 70000})


def test_parents_belong_to_root_and_come_first() -> None:
    directories = project(persist={"settings": "/home/jovyan/.jupyter"})["directories"]
    assert [(entry["path"], entry["owner"]) for entry in directories] == [
        ("/srv/tao", 0), ("/srv/tao/data", 0), ("/srv/tao/server", 0), ("/srv/tao/server/labconfig", 0),
        ("/srv/tao/data/notebooks", 200999), ("/srv/tao/data/settings", 200999),
    ]  # fmt: skip


def test_every_mount_is_a_bind_that_fails_on_a_missing_source() -> None:
    volumes = service(volumes=[{"source": "/data", "target": "/data", "read_only": True}], persist={"a": "/a"})[
        "volumes"
    ]
    assert {volume["target"]: (volume["source"], volume["read_only"]) for volume in volumes} == {
        "/home/jovyan/work": ("/srv/tao/data/notebooks", False),
        "/a": ("/srv/tao/data/a", False),
        "/data": ("/data", True),
        "/etc/carrel": ("/srv/tao/server", True),
    }
    assert all(volume["type"] == "bind" and not volume["bind"]["create_host_path"] for volume in volumes)


def test_the_two_servers_differ_in_their_port_alone_on_the_loopback() -> None:
    services = lab.labelled(project(), "one")["services"]
    assert [services[name].pop("ports") for name in ("lab-1", "lab-2")] == [
        ["127.0.0.1:8801:8888"],
        ["127.0.0.1:8802:8888"],
    ]
    assert services["lab-1"] == services["lab-2"]
    labels = services["lab-1"]["labels"]
    assert len(labels.pop("carrel.made-of")) == 64
    assert labels == {
        "carrel.instance": "tao",
        "carrel.python": "/opt/conda/bin/python3",
        "carrel.server-config": "one",
    }


def test_optional_keys_are_left_out() -> None:
    assert not {"user", "command", "mem_limit", "cpus"} & service().keys()


def test_processes_are_limited_unless_the_engine_cannot() -> None:
    assert service()["pids_limit"] == 4096 and service(limits={"pids": 100})["pids_limit"] == 100
    decided = lab.project(instance(), {**ENGINE, "controllers": ["memory"]}, IMAGE)
    assert "pids_limit" not in decided["compose"]["services"]["lab-1"] and decided["unenforceable"] == []


NO_NEW_PRIVILEGES = ["no-new-privileges:true"]


@pytest.mark.parametrize(
    ("uid", "changes", "cap_drop", "security_opt"),
    [
        (1000, {}, ["ALL"], NO_NEW_PRIVILEGES),
        (0, {}, ["NET_RAW"], NO_NEW_PRIVILEGES),
        (0, {"environment": {"GRANT_SUDO": "yes"}}, ["NET_RAW"], None),
        (0, {"environment": {"GRANT_SUDO": "no"}}, ["NET_RAW"], NO_NEW_PRIVILEGES),
        (0, {"environment": {"GRANT_SUDO": "yes"}, "sudo": False}, ["NET_RAW"], NO_NEW_PRIVILEGES),
        (1000, {"environment": {"GRANT_SUDO": "yes"}}, ["ALL"], NO_NEW_PRIVILEGES),  # without effect there
        (1000, {"sudo": True}, ["NET_RAW"], None),
        (1000, {"sudo": False}, ["ALL"], NO_NEW_PRIVILEGES),
    ],
)
def test_a_container_has_the_privileges_that_it_needs(
    uid: int, changes: dict[str, Any], cap_drop: list[str], security_opt: list[str] | None
) -> None:
    decided = project({"uid": uid, "gid": 0}, **changes)["compose"]["services"]["lab-1"]
    assert (decided["cap_drop"], decided.get("security_opt")) == (cap_drop, security_opt)


def test_limits_leave_no_swap() -> None:
    limited = service(limits={"memory": 2**30, "cpus": 1.5, "pids": 100})
    assert (limited["mem_limit"], limited["memswap_limit"]) == (2**30, 2**30)
    assert (limited["cpus"], limited["pids_limit"]) == (1.5, 100)


def test_unenforceable_limits_are_left_out_and_reported() -> None:
    decided = lab.project(instance(limits={"memory": 2**30, "cpus": 1.5}), {**ENGINE, "controllers": ["memory"]}, IMAGE)
    limited = decided["compose"]["services"]["lab-1"]
    assert limited["mem_limit"] == 2**30 and "cpus" not in limited
    assert decided["unenforceable"] == ["cpus"]


def test_a_dollar_in_the_project_is_doubled() -> None:
    assert service(command=["sh", "-c", "echo $HOME"])["command"] == ["sh", "-c", "echo $$HOME"]


def test_a_new_server_configuration_changes_the_project() -> None:
    decided = project()
    assert lab.labelled(decided, "one") != lab.labelled(decided, "two")


def test_what_compose_reads_as_root_belongs_to_root() -> None:
    written = lab.files(instance(smoke=[], smoke_timeout_seconds=0), ENGINE, project(), "one", {})["files"]
    modes = {file["path"]: (file.get("owner", 0), file["group"], file["mode"]) for file in written if "group" in file}
    assert modes == {"/srv/tao/.env": (0, ENGINE["gid"], "0640"), "/srv/tao/compose.yaml": (0, ENGINE["gid"], "0640")}


def test_a_new_environment_changes_the_project() -> None:
    before, after = (lab.labelled(project(environment={"A": value}), "one") for value in ("1", "2"))
    assert before != after


@pytest.mark.parametrize(("collaboration", "disabled"), [(True, False), (False, True)])
def test_collaboration(collaboration: bool, disabled: bool) -> None:
    decided = project(collaboration=collaboration)
    assert decided["settings"]["YDocExtension"]["disable_rtc"] is disabled
    assert decided["environment"]["COLLABORATIVE"] == str(collaboration).lower()


def test_collaboration_is_the_images_choice_by_default() -> None:
    decided = project()
    assert "YDocExtension" not in decided["settings"] and "COLLABORATIVE" not in decided["environment"]


def test_idle_shutdown_reaches_both_the_server_and_images_that_read_the_environment() -> None:
    decided = project(idle_shutdown_seconds=600)
    assert decided["settings"]["ServerApp"]["shutdown_no_activity_timeout"] == 600
    assert decided["environment"]["JUPYTER_AUTOSHUTDOWN_TIMEOUT"] == "600"


def test_root_inside_is_allowed_to_jupyter_only_where_it_is_root() -> None:
    assert "allow_root" not in project()["settings"]["ServerApp"]
    assert project({"uid": 0, "gid": 0})["settings"]["ServerApp"]["allow_root"] is True


def test_the_administrators_environment_wins_but_not_over_the_configuration_path() -> None:
    variables = project(environment={"JUPYTER_AUTOSHUTDOWN_TIMEOUT": "1", "JUPYTER_CONFIG_PATH": "/tmp"})["environment"]
    assert (variables["JUPYTER_AUTOSHUTDOWN_TIMEOUT"], variables["JUPYTER_CONFIG_PATH"]) == ("1", "/etc/carrel")


def test_dotenv_quotes_everything() -> None:
    assert _compose.dotenv({"B": "two\nlines", "A": "it's $5"}) == "A='it\\'s $5'\nB='two\nlines'\n"


def test_dotenv_lets_no_backslash_reach_the_quote_that_ends_a_value() -> None:
    values = {"A": "C:\\", "B": "it's \\' $5", "C": 'a\\"b'}
    assert _compose.dotenv(values) == 'A="C:\\\\"\nB="it\'s \\\\\' \\$5"\nC="a\\\\\\"b"\n'


def test_the_record_has_no_secret() -> None:
    record = json.loads(lab.lab_record({**instance(), "password": "secret"}))
    assert record == {
        "collection": VERSION,
        "kind": "lab", "name": "tao", "engine": "tao", "directory": "/srv/tao", "port": 8801, "second_port": 8802,
        "own": [], "state": "present", "token_file": "/srv/tao/token",
        "url": "https://example.org/tao/",
    }  # fmt: skip


def test_a_lab_with_egress_has_a_runtime_that_is_told_the_networks() -> None:
    for service in lab.compose(instance(egress={"allow": ["192.0.2.0/24", "198.51.100.7/32"]}), IMAGE, [])[
        "services"
    ].values():
        assert service["runtime"] == "carrel-egress"
        assert service["annotations"] == {"carrel.egress": "192.0.2.0/24,198.51.100.7/32"}
    assert "runtime" not in lab.compose(instance(), IMAGE, [])["services"]["lab-1"]


def test_devices_are_asked_for_by_their_cdi_names() -> None:
    request = {"driver": "cdi", "device_ids": ["nvidia.com/gpu=0"], "capabilities": ["gpu"]}
    for service in lab.compose(instance(devices=["nvidia.com/gpu=0"]), IMAGE, [])["services"].values():
        assert service["deploy"]["resources"]["reservations"]["devices"] == [request]
    assert "deploy" not in lab.compose(instance(), IMAGE, [])["services"]["lab-1"]
