# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan says about good input."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.action.plan import GROUPS, KNOWN, PREFIX, ControlFiles, misspelt
from ansible_collections.carrel.jupyter.plugins.module_utils._plan import url
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.plan import Inputs, make_plan
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, Computed
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.values import size, size_text
from plan_helpers import HOST, Control, good, host, hub, lab, plan, two

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs" / "contributing" / "architecture.md"


def contract() -> dict[str, Any]:
    """The plan as docs/contributing/architecture.md shows it."""
    block = ARCHITECTURE.read_text(encoding="utf-8").split("The plan's result")[1].split("```yaml\n")[1].split("```")[0]
    return yaml.safe_load(block.replace("…", "..."))["plan"]


def shape(value: Any) -> Any:
    """The keys at every depth, but for those of tls, which depend on the mode."""
    if isinstance(value, dict):
        return {key: None if key == "tls" else shape(item) for key, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def test_engines_with_devices_know_cdi() -> None:
    plan = good([lab(devices=["nvidia.com/gpu=0"]), lab(name="geo", url="https://geo.example.org/")])
    engines = {engine["name"]: engine.get("daemon_options", {}) for engine in plan["rootless_docker_engines"]}
    assert engines["tao"]["features"] == {"cdi": True} and engines["geo"] == {}
    assert plan["lab_instances"][0]["devices"] == ["nvidia.com/gpu=0"]


def test_engines_of_labs_with_egress_know_the_runtime() -> None:
    with_both = lab(name="geo", url="https://geo.example.org/", engine="tao", devices=["nvidia.com/gpu=0"])
    plan = good([lab(egress={"allow": []}), with_both, hub(name="zoo", egress={"allow": []})])
    options = {engine["name"]: engine.get("daemon_options", {}) for engine in plan["rootless_docker_engines"]}
    assert set(options["tao"]) == {"runtimes", "features", "cdi-spec-dirs"}
    assert options["zoo"] == {}, "hubs set rules themselves"
    assert plan["lab_instances"][0]["egress"] == {"allow": []}


def test_result_has_the_keys_of_the_contract() -> None:
    zoo = hub(name="zoo", url="https://zoo.example.org", groups={"statistics": {"members": ["ada"]}})
    declared = lab(name="geo", url="https://geo.example.org", image={"declared": "statistics"})
    backup = {"repository": "/srv/backup", "password": "a secret"}
    result = good([lab(reset={"at": "01:25"}, backup=backup), declared, zoo], images=[{"name": "statistics"}])
    expected = contract()
    for part in ("rootless_docker_engines", "image_jobs", "apache_vhosts", "reset_jobs", "backup_jobs"):
        assert shape(result[part][:1]) == shape(expected[part][:1]), part
    for role in ("lab", "hub"):
        specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
        options = specs["argument_specs"]["main"]["options"][f"{role}_instances"]["options"]
        assert set(result[f"{role}_instances"][0]) == set(options)
    assert set(result) == set(expected)
    assert shape(good([lab()], current=HOST)["engine_ports"]) == shape(expected["engine_ports"])


def test_nothing_is_planned_without_instances() -> None:
    assert good([]) == {**{key: [] for key in contract()}, "rollout": None}
    assert plan(None)[0] == good([])


def test_defaults_are_below_an_instance_and_null_takes_them_away() -> None:
    defaults = {"memory": "2G", "reset": {"at": "01:25"}, "environment": {"A": "1", "B": "true"}, "build": "images/lab"}
    instances = [lab(memory="512M", reset=None), lab(name="geo", url="https://geo.example.org", image=...)]
    tao, geo = good(instances, defaults=defaults)["lab_instances"]
    assert (tao["limits"]["memory"], geo["limits"]["memory"]) == (512 << 20, 2 << 30)
    assert tao["environment"] == {"A": "1", "B": "true"}
    assert tao["build"] is None and geo["image"] is None
    assert geo["build"] == {
        "context": "/inventory/images/lab",
        "dockerfile": "Dockerfile",
        "args": {},
        "no_cache": False,
    }
    assert [job["at"] for job in good(instances, defaults=defaults)["reset_jobs"]] == [None, "01:25"]


def test_locations_share_a_vhost_longest_path_first() -> None:
    middle = lab(name="mid", url="https://tao.example.org/geo")
    instances = [*two({}, {"url": "https://tao.example.org/geo/deep"}), middle]
    (vhost,) = good(instances)["apache_vhosts"]
    assert [location["path"] for location in vhost["locations"]] == ["/geo/deep/", "/geo/", "/"]


def test_other_ports_and_names_are_other_vhosts() -> None:
    instances = [*two({}, {"url": "https://tao.example.org:8443"}), lab(name="c", url="http://c.example.org", tls=...)]
    vhosts = good(instances, tls="acme")["apache_vhosts"]
    assert [(vhost["server_name"], vhost["port"], vhost["tls"]["mode"]) for vhost in vhosts] == [
        ("c.example.org", 80, "none"),
        ("tao.example.org", 443, "selfsigned"),
        ("tao.example.org", 8443, "selfsigned"),
    ]


@pytest.mark.parametrize(("mode", "seconds"), [("acme", 31536000), ("selfsigned", 0)])
def test_hsts_only_with_a_certificate_that_browsers_trust(mode: str, seconds: int) -> None:
    assert good([lab(tls=mode)])["apache_vhosts"][0]["hsts_seconds"] == seconds


def test_tls_of_the_host_is_for_https_without_its_own() -> None:
    files = {"mode": "files", "certificate": "/c", "private_key": "/k"}
    assert good([lab(tls=...)], tls=files)["apache_vhosts"][0]["tls"] == files
    assert good([lab()], tls=files)["apache_vhosts"][0]["tls"]["mode"] == "selfsigned"


def test_absent_needs_only_a_name_and_stops_its_engine() -> None:
    result = good([{"name": "tao", "state": "absent"}])
    assert result["rootless_docker_engines"] == []
    assert result["idle_engines"] == [{"name": "tao", "state": "stopped"}]
    assert result["apache_vhosts"] == []
    assert result["lab_instances"][0]["state"] == "absent"
    assert result["reset_jobs"][0]["state"] == "absent"


def test_absent_is_removed_from_the_engine_that_has_it() -> None:
    current = host(instances={"tao": {"engine": "shared", "port": 8801}}, engines={"shared": {}})
    result = good([{"name": "tao", "state": "absent"}], current=current)
    assert result["lab_instances"][0]["engine"] == "shared"
    assert result["rootless_docker_engines"] == [{"name": "shared", "state": "started"}]
    assert result["idle_engines"] == [{"name": "shared", "state": "stopped"}]


def test_no_engine_is_made_to_be_stopped() -> None:
    result = good([{"name": "tao", "state": "absent"}], current=HOST)
    assert result["rootless_docker_engines"] == result["idle_engines"] == []


def test_an_engine_runs_on_for_an_instance_that_left_the_inventory() -> None:
    known = {"tao": {"engine": "shared", "port": 8801}, "old": {"engine": "shared", "port": 8802}}
    current = host(instances=known, engines={"shared": {}})
    result = good([{"name": "tao", "state": "absent"}], current=current)
    assert result["rootless_docker_engines"] == [{"name": "shared", "state": "started"}]
    assert result["idle_engines"] == []
    assert "write {name: old, state: absent}" in result["warnings"][0]


def test_ports_are_kept_for_the_accounts_of_all_that_is_on_the_host() -> None:
    known = {
        "tao": {"engine": "tao", "port": 8801, "second_port": 8802},
        "gone": {"engine": "gone", "port": 8803, "second_port": 8804},
        "old": {"engine": "shared", "port": 8805, "second_port": 8806},
    }
    current = host(instances=known, engines={"tao": {}, "gone": {}, "shared": {}})
    instances = [
        lab(state="held"),
        {"name": "gone", "state": "absent"},
        hub(name="zoo", url="https://zoo.example.org", engine="shared", port=9001),
    ]
    result = good(instances, current=current)
    shared, tao = {"account": "shared", "ports": [8805, 8806, 9001]}, {"account": "tao", "ports": [8801, 8802]}
    assert result["engine_ports"] == [{"account": "gone", "ports": [8803, 8804]}, shared, tao], "until it is removed"
    assert result["engine_ports_after"] == [shared, tao]


def test_a_port_that_an_instance_leaves_is_kept_for_its_account_until_it_has_left() -> None:
    current = host(instances={"tao": {"engine": "tao", "port": 8801, "second_port": 8802}}, engines={"tao": {}})
    for moved, before in (({"port": 8950}, [8801, 8802, 8950]), ({"port": 8802}, None), ({}, [8801, 8802])):
        result = good([lab(**moved)], current=current)
        job = result["reset_jobs"][0]
        assert result["engine_ports_after"] == [{"account": "tao", "ports": sorted(job["ports"])}]
        assert result["engine_ports"] == [{"account": "tao", "ports": before or sorted({8801, 8802, *job["ports"]})}]


def test_a_port_that_changes_hands_is_reserved_for_its_new_owner() -> None:
    known = {"tao": {"engine": "tao", "port": 8801}, "geo": {"engine": "geo", "port": 8802}}
    current = host(instances=known, engines={"tao": {}, "geo": {}})
    instances = [lab(state="absent"), lab(name="geo", url="https://geo.example.org", port=8802)]
    result = good(instances, current=current)
    ports = [port for entry in result["engine_ports"] for port in entry["ports"]]
    assert len(ports) == len(set(ports)), "engine_ports refuses one port for two"


def test_no_instance_stays_on_a_port_that_the_kernel_gives_away() -> None:
    current = host(instances={"tao": {"engine": "tao", "port": 40000, "second_port": 8802}}, engines={"tao": {}})
    (planned,) = good([lab()], current=current, port_range=[8801, 50000])["lab_instances"]
    assert planned["port"] not in range(32768, 61000) and planned["second_port"] == 8802


def test_held_keeps_its_place() -> None:
    result = good([lab(state="held", reset={"at": "01:25"})])
    assert result["apache_vhosts"][0]["locations"][0]["state"] == "held"
    assert result["rootless_docker_engines"][0]["state"] == "started"
    assert result["reset_jobs"][0]["state"] == "held"


def test_ports_are_unknown_without_the_host_unless_given() -> None:
    result = good(two({"port": 8801}, {}))
    assert [item["port"] for item in result["lab_instances"]] == [8801, None]
    assert {item["second_port"] for item in result["lab_instances"]} == {None}
    assert [job["ports"] for job in result["reset_jobs"]] == [[], []]
    assert "port not known yet" in result["summary"][1]


def test_an_instance_keeps_its_port_while_it_listens() -> None:
    current = host(instances={"tao": {"engine": "tao", "port": 8900}}, engines={"tao": {}}, accounts={"tao": 1001})
    (tao,) = good([lab()], current=current)["lab_instances"]
    assert tao["port"] == 8900
    assert (
        good([lab(port=8900)], current=current)["apache_vhosts"][0]["locations"][0]["backend"]
        == "http://127.0.0.1:8900"
    )


def test_a_lab_has_a_second_port_of_its_own_and_keeps_it() -> None:
    current = host(instances={"old": {"engine": "old", "port": 8801, "second_port": 8802}})
    first = good(two({}, {}), current=current, port_range=[8801, 8806])["lab_instances"]
    ports = {item["name"]: (item["port"], item["second_port"]) for item in first}
    assert sorted(port for pair in ports.values() for port in pair) == [8803, 8804, 8805, 8806]
    known = {item["name"]: {key: item[key] for key in ("engine", "port", "second_port")} for item in first}
    listening = [item["second_port"] for item in first]
    current = host(instances=known, listening_ports=listening, engines=known, accounts={"tao": 1001, "geo": 1002})
    result = good([*two({}, {}), lab(name="new", url="https://new.example.org")], current=current)
    assert {item["name"]: (item["port"], item["second_port"]) for item in result["lab_instances"][:2]} == ports
    assert result["reset_jobs"][0]["ports"] == list(ports["tao"])
    second = result["apache_vhosts"][-1]["locations"][0]["second"]
    assert second == {
        "backend": f"http://127.0.0.1:{ports['tao'][1]}",
        "file": "/var/lib/carrel/tao/reset/second",
    }


def test_a_lab_may_be_given_what_was_its_second_port() -> None:
    known = {"tao": {"engine": "tao", "port": 8801, "second_port": 8802}}
    current = host(instances=known, listening_ports=[8802], engines={"tao": {}})
    (tao,) = good([lab(port=8802)], current=current)["lab_instances"]
    assert tao["port"] == 8802 != tao["second_port"]


def test_a_hub_has_no_second_server() -> None:
    result = good([hub(reset={"at": "daily", "pull": True})], current=host(instances={"class101": {"port": 8801}}))
    assert result["apache_vhosts"][0]["locations"][0]["second"] is None
    (job,) = result["reset_jobs"]
    assert {key: job[key] for key in ("kind", "at", "ports", "images", "notebooks", "token_file")} == {
        "kind": "hub",
        "at": "daily",
        "ports": [8801],
        "images": ["registry.example.org/lab:1.0"],
        "notebooks": "/home/jovyan/work",
        "token_file": None,
    }


def test_a_reset_without_a_time_has_settings_for_resets_by_hand() -> None:
    (job,) = good([lab(image=..., build="lab", reset={"people": "skip", "drain_seconds": 0})])["reset_jobs"]
    assert (job["at"], job["people"], job["drain_seconds"], job["images"]) == (None, "skip", 0, [])
    assert job["token_file"] == "/srv/tao/token"
    assert good([lab(token_file="/srv/tokens/tao")])["lab_instances"][0]["token_file"] == "/srv/tokens/tao"
    assert good([lab(token_file="/srv/tao/token")])["reset_jobs"][0]["token_file"] == "/srv/tao/token"


def with_records(**records: dict[str, Any]) -> dict[str, Any]:
    known = {name: {"engine": name, "kind": "lab", **record} for name, record in records.items()}
    return host(instances=known, engines={name: {} for name in records})


@pytest.mark.parametrize(
    ("record", "declared", "other", "removed"),
    [
        ({"token_file": "/srv/tokens/a"}, {}, {}, "/srv/tokens/a"),
        ({"token_file": "/srv/tokens/a"}, {"token_file": "/srv/tokens/a"}, {}, "/srv/tokens/a"),
        ({"token_file": "/srv/tokens/a"}, {"token_file": "/etc/b"}, {"token_file": "/srv/tokens/c"}, "/srv/tokens/a"),
        # The lab was renamed, or another one has its token.
        ({"token_file": "/srv/tokens/a"}, {"token_file": "/srv/tokens/a"}, {"token_file": "/srv/tokens/a"}, None),
        ({"token_file": "/srv/tokens/a"}, {}, {"token_file": "/srv/tokens/a", "state": "held"}, None),
        # It is archived with the directory.
        ({"token_file": "/srv/tao/token"}, {}, {}, None),
        ({"directory": "/data/tao", "token_file": "/data/tao/token"}, {}, {}, None),
        ({"directory": "/data/tao", "token_file": "/srv/tao/token"}, {}, {}, "/srv/tao/token"),
        # Version 0.1.0 did not record it, and there is no record of what is removed already, or never was.
        ({}, {"token_file": "/srv/tokens/a"}, {}, None),
        (None, {"token_file": "/srv/tokens/a"}, {}, None),
        (None, {}, {}, None),
    ],
)
def test_a_removed_lab_takes_along_the_token_that_is_its_own(
    record: dict[str, Any] | None, declared: dict[str, Any], other: dict[str, Any], removed: str | None
) -> None:
    geo = lab(name="geo", url="https://geo.example.org/", **other)
    absent = {"name": "tao", "state": "absent", **declared}
    current = with_records(**({} if record is None else {"tao": record}))
    for instances in ([absent, geo], [geo, absent]):
        found = {each["name"]: each for each in good(instances, current=current)["lab_instances"]}
        assert found["tao"]["token_file"] == removed
        assert found["geo"]["token_file"] == other.get("token_file", "/srv/geo/token")


def test_a_held_lab_has_the_token_file_that_it_had() -> None:
    current = with_records(tao={"token_file": "/srv/tokens/old"})
    for state, expected in (("held", "/srv/tokens/old"), ("present", "/srv/tokens/new")):
        found = good([lab(state=state, token_file="/srv/tokens/new")], current=current)
        places = {found[key][0]["token_file"] for key in ("lab_instances", "backup_jobs", "reset_jobs")}
        assert places == {expected}
    assert good([lab(state="held")], current=HOST)["lab_instances"][0]["token_file"] == "/srv/tao/token"
    # So a removed lab leaves it, too.
    records = with_records(tao={"token_file": "/srv/tokens/a"}, geo={"token_file": "/srv/tokens/a"})
    geo = lab(name="geo", url="https://geo.example.org/", state="held")
    found = good([{"name": "tao", "state": "absent"}, geo], current=records)
    assert found["lab_instances"][0]["token_file"] is None


def test_defaults_of_a_reset_are_as_in_the_contract() -> None:
    own = ("name", "url", "engine", "directory", "base_url", "ports", "images", "token_file", "at", "pull")
    (job,), (expected,) = good([lab()])["reset_jobs"], contract()["reset_jobs"]
    assert {key: job[key] for key in job if key not in own} == {
        key: expected[key] for key in expected if key not in own
    }


@pytest.mark.parametrize(
    ("reset", "text"),
    [
        ({"at": "1:05", "timezone": "Europe/Berlin", "pull": True}, "reset 01:05 Europe/Berlin with pull"),
        ({"at": "daily"}, "reset daily"),
    ],
)
def test_the_summary_shows_the_time_of_the_reset(reset: dict[str, Any], text: str) -> None:
    result = good([lab(reset=reset), hub(reset=reset)])
    assert all(f"; {text};" in line for line in result["summary"])


def test_a_digest_never_changes_by_a_pull() -> None:
    image = "registry.example.org/lab:1.0@sha256:" + "0" * 64
    assert "never brings a newer one" in good([lab(image=image, reset={"pull": True})])["warnings"][0]
    assert "never brings a newer one" in good([hub(image=image, reset={"pull": True})])["warnings"][0]
    assert good([lab(image=image, reset={"at": "01:25"})])["warnings"] == []


def test_a_control_node_without_time_zones_leaves_them_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Control, "timezones", lambda self: {})
    assert good([lab(reset={"at": "01:25", "timezone": "Asia/Tokyo"})])["reset_jobs"][0]["timezone"] == "Asia/Tokyo"


def test_the_control_node_knows_time_zones_and_their_names_of_today() -> None:
    zones = ControlFiles(None).timezones()
    older = {"Asia/Calcutta": "Asia/Kolkata", "US/Eastern": "America/New_York", "GB": "Europe/London"}
    today = {name: name for name in ("Europe/Berlin", "Europe/Stockholm", "America/New_York", "UTC")}
    assert {name: zones[name] for name in (*older, *today)} == {**older, **today}
    assert set(zones.values()) <= set(zones)


def test_our_own_account_is_accepted() -> None:
    assert good([lab(name="ada")], current=host(engines={"ada": {}}))["lab_instances"][0]["engine"] == "ada"


def test_template_becomes_its_text() -> None:
    (tao,) = good([lab(login={"template": "login.html"})])["lab_instances"]
    assert tao["login"] == {"notice": None, "notice_html": None, "template": "<form></form>"}


def test_warnings() -> None:
    memory = good(two({"memory": "5G"}, {"memory": "5G"}), current=HOST)["warnings"]
    assert memory == ["the memory limits add up to 10G, the host has 8G"]
    assert "unencrypted" in good([lab(url="http://tao.example.org", tls=...)])["warnings"][0]
    assert "did you mean 'shared'" in good(two({"engine": "shared"}, {"engine": "shraed"}))["warnings"][-1]
    assert good(two({"engine": "shared"}, {"engine": "shared"}))["warnings"] == []


@pytest.mark.parametrize(
    ("keys", "shared"),
    [
        ({"url": "https://tao.example.org/geo/"}, "tao, geo: share https://tao.example.org,"),
        ({"url": "https://tao.example.org/geo/", "engine": "tao"}, None),
        ({"url": "https://tao.example.org:8443/"}, None),
        ({"url": "https://tao.example.org/geo/", "state": "held"}, "tao, geo: share"),
        ({"url": "https://tao.example.org/geo/", "state": "absent"}, None),
    ],
)
def test_engines_that_share_an_origin_are_warned_of(keys: dict[str, Any], shared: str | None) -> None:
    found = good(two({"url": "https://tao.example.org/"}, keys))["warnings"]
    assert [line[: len(shared or "")] for line in found] == ([shared] if shared else [])


def store(*secrets: str, at: str = "rest:https://backup.example.org/a", **more: Any) -> dict[str, Any]:
    """A backup with a password, and an account if there is one."""
    accounts = {f"RESTIC_REST_{name}": value for name, value in zip(("PASSWORD", "USERNAME"), secrets[1:])}
    return {"repository": at, "password": secrets[0], "environment": {"RESTIC_CACERT": "/ca.pem", **accounts}, **more}


ELSEWHERE = "rest:https://other.example.org/a"
ONE, NO_READER = "use the same account and the same password", "one can delete the backups"
NONE = "have no account for rest:https://backup.example.org and the same password"


@pytest.mark.parametrize(
    ("common", "second", "said"),
    [
        (store("all", "all"), {}, ONE),
        (store("all"), {}, NONE),
        (store("all"), {"backup": {"repository": "rest:https://backup.example.org/b"}}, NONE),
        (store("all"), {"backup": {"repository": ELSEWHERE}}, None),
        (store("all", "all"), {"backup": {"repository": ELSEWHERE}}, ONE),
        (store("all", "all"), {"engine": "tao"}, None),
        (store("all", "all"), {"state": "absent"}, None),
        (store("all", "all"), {"backup": {"enabled": False}}, None),
        (store("all", "all"), {"backup": {"repository": "/srv/backup"}}, None),
        (store("all", at="/srv/backup"), {}, None),
        (store("all", "all"), {"backup": store("own", "own")}, None),
        (store("all", "all"), {"backup": store("own", "all")}, NO_READER),
        (store("all", "all", append_only=True), {"backup": store("own", "all")}, None),
        (store("all"), {"backup": store("own")}, NO_READER),
        (store("all", "all", "tao"), {"backup": store("all", "own", "geo")}, None),
        (store("all", "all", "tao"), {"backup": store("all", "all", "geo")}, ONE),
    ],
)
def test_engines_that_share_a_store_are_warned_of(
    common: dict[str, Any], second: dict[str, Any], said: str | None
) -> None:
    found = good(two({}, second), backup=common)["warnings"]
    assert [line for line in found if line.startswith("tao, geo: ")] == found
    assert len(found) == (said is not None)
    assert all((said or "") in line for line in found)


def test_each_shared_store_has_a_warning_of_its_own() -> None:
    accounts = {
        "a": store("first", "one"), "b": store("first", "one"), "c": store("second", "one"),
        "d": store("third"), "e": store("third"), "f": store("first", "its own", "f"),
    }  # fmt: skip
    labs = [lab(name=name, url=f"https://{name}.example.org", backup=backup) for name, backup in accounts.items()]
    advice = "Write a backup.password and a backup.environment with an account for each instance"
    assert good(labs)["warnings"] == [
        "a, b: use the same account and the same password for backups, so whoever takes over the engine of one can read"
        f" the backups of all, and delete them unless the store forbids that. {advice}",
        "a, b, c: use the same account for backups, so whoever takes over the engine of one can delete the backups of"
        " all. Write a backup.environment with an account for each instance, or use a store that forbids it and"
        " append_only: true",
        "d, e: have no account for rest:https://backup.example.org and the same password for backups, so whoever takes"
        f" over the engine of one can read the backups of all, and delete them unless the store forbids that. {advice}",
    ]


def test_summary_shows_no_secret() -> None:
    secrets = {"password": 3 * "SECRET", "token": 3 * "SECRET", "environment": {"A": "SECRET"}}
    result = good([lab(**secrets, memory="8G", cpus=2, pids=500)])
    assert result["summary"] == [
        "tao: present; https://tao.example.org/; image registry.example.org/lab:1.0; engine tao; port not known yet; "
        "reset by hand; limits 8G of memory, 2 CPUs, 500 processes"
    ]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("user", "01000:100", "1000:100"),
        ("notebooks", "/home//jovyan/", "/home/jovyan"),
        ("command", ["start-notebook.py"], ["start-notebook.py"]),
        ("image", "localhost:5000/a/b-c__d:V1.0@sha256:" + "0" * 64, "localhost:5000/a/b-c__d:V1.0@sha256:" + "0" * 64),
    ],
)
def test_values(key: str, value: Any, expected: Any) -> None:
    assert good([lab(**{key: value})])["lab_instances"][0][key] == expected


@pytest.mark.parametrize(
    ("memory", "expected"), [("1.5G", 1610612736), ("512MiB", 536870912), (1073741824, 1073741824)]
)
def test_sizes(memory: Any, expected: int) -> None:
    assert good([lab(memory=memory)])["lab_instances"][0]["limits"]["memory"] == expected


def test_proxy_is_filled_up() -> None:
    (vhost,) = good([lab(proxy={"max_body": 0, "websocket": "wstunnel"})])["apache_vhosts"]
    assert {key: vhost["locations"][0][key] for key in ("websocket", "max_body_bytes", "timeout_seconds")} == {
        "websocket": "wstunnel",
        "max_body_bytes": 0,
        "timeout_seconds": 600,
    }


def test_the_hub_of_the_example_inventory_is_a_good_one() -> None:
    folder = ROOT / "inventories" / "example"
    text = (folder / "host_vars" / "hub1.example.org.yml").read_text(encoding="utf-8")
    instances = yaml.safe_load(text)["jupyter_instances"]
    common = yaml.safe_load((folder / "group_vars" / "all" / "jupyter.yml").read_text(encoding="utf-8"))
    problems = Problems()
    inputs = Inputs(instances=instances, tls="acme", images=common["jupyter_images"])
    result = make_plan(inputs, ControlFiles(str(folder)), problems)
    assert result is not None, problems.items
    (planned,) = result["hub_instances"]
    assert [user["name"] for user in planned["users"] if user["server_of"] is None] == [
        f"{name}--uni-example" for name in ("ada", "grace", "hopper", "lovelace", "prof")
    ]
    assert result["warnings"] == []


def test_a_misspelt_variable_is_reported() -> None:
    names = ["jupyter_image", "jupyter_instance", "jupyter_default", "jupyter_tls", "jupyter_hosts", "jupyter_zebra"]
    assert misspelt([*names, "apache_hsts"]) == [
        "the variable jupyter_default has no effect; did you mean jupyter_defaults?",
        "the variable jupyter_image has no effect; did you mean jupyter_images?",
        "the variable jupyter_instance has no effect; did you mean jupyter_instances?",
    ]


def test_every_variable_of_the_playbooks_is_known() -> None:
    texts = [path.read_text() for path in (ROOT / "playbooks").glob("*.yml")]
    read = {name for text in texts for name in re.findall(r"\bjupyter_([a-z0-9_]+)", text)}
    assert read and sorted(read - set(KNOWN) - {GROUPS.removeprefix(PREFIX)}) == []


def test_an_image_that_is_built_cannot_always_be_pulled() -> None:
    _unused, (problem,) = plan([lab(image=..., build="lab", pull="always")])
    assert "leave pull out" in problem.message


def test_a_secret_that_became_a_key_is_not_shown() -> None:
    _unused, problems = plan([lab(login={"notice=hunter2 and more": None})])
    assert problems and "hunter2" not in str([(problem.path, problem.message) for problem in problems])


DECLARED = [{"name": "statistics", "kernels": ["r"]}, {"name": "geo", "pip": ["geopandas==1.1.1"]}]


def test_each_engine_builds_what_its_running_instances_name() -> None:
    statistics, geo = {"declared": "statistics"}, {"declared": "geo"}
    instances = [
        lab(image=statistics),
        lab(name="one", url="https://one.example.org", engine="tao", image=statistics),
        lab(name="two", url="https://two.example.org", image=geo, state="held"),
        lab(name="three", url="https://three.example.org"),
        hub(image=..., images=[{"title": "a", "image": geo}, {"title": "b", "image": statistics}]),
    ]
    result = good(instances, images=DECLARED)
    assert result["image_jobs"] == [
        {"engine": "tao", "images": ["statistics"]},
        {"engine": "class101", "images": ["geo", "statistics"]},
    ]
    assert result["lab_instances"][0]["image"] == statistics
    assert [item["image"] for item in result["hub_instances"][0]["images"]] == [geo, statistics]
    jobs = [job["images"] for job in result["reset_jobs"]]
    assert jobs == [[statistics], [statistics], [geo], ["registry.example.org/lab:1.0"], [geo, statistics]]
    assert "; image statistics (declared); " in result["summary"][0]
    assert "; images geo (declared), statistics (declared); " in result["summary"][4]


@pytest.mark.parametrize(
    ("keys", "inputs"),
    [
        ({}, {}),
        ({"image": {"declared": "lua"}, "state": "held"}, {}),
        ({"image": {"declared": "lua"}, "moved_to": "other.example.org"}, {}),
        ({"image": {"declared": "lua"}}, {"only": ["geo"]}),
        ({"image": {"declared": "lua"}}, {"pull_from": "build"}),
        ({"image": {"declared": "lua"}}, {"kernels": INVALID}),
        ({"image": {"declared": "lua"}, "state": "absent"}, {}),
    ],
)
def test_kernels_count_where_the_image_is_built(keys: dict[str, Any], inputs: dict[str, Any]) -> None:
    """Only the host that builds may have them in its image_kernels."""
    images = [*DECLARED, {"name": "lua", "kernels": ["lua"]}]
    other = {"image": {"declared": "statistics"}} if "kernels" not in inputs else {}
    good(two(keys, other), images=images, **inputs)
    _unused, problems = plan(two({"image": {"declared": "lua"}}, {}), images=images)
    assert [problem.path for problem in problems] == ["jupyter_images[2]"]


def test_a_host_that_builds_nothing_needs_no_kernels() -> None:
    images = [{"name": "lua", "kernels": ["lua"], "push": "R"}]
    _unused, problems = plan([lab()], images=images, kernels=["lua"])
    assert [(problem.id, problem.path) for problem in problems] == [("declared_image", "jupyter_images[0]")]
    assert "push: 'R'" in problems[0].message


def test_a_bad_declaration_is_not_reported_again_at_its_instances() -> None:
    _unused, problems = plan([lab(image={"declared": "geo"})], images=[*DECLARED[:1], {"name": "Geo"}])
    assert [problem.path for problem in problems] == ["jupyter_images[1].name"]


def test_an_absent_instance_may_name_a_missing_image() -> None:
    assert good([{"name": "tao", "state": "absent", "image": {"declared": "gone"}}])["image_jobs"] == []


def test_a_declared_image_can_be_a_default() -> None:
    defaults = {"image": {"declared": "statistics"}}
    result = good([lab(image=...), hub(image=...)], defaults=defaults, images=DECLARED)
    assert result["image_jobs"] == [
        {"engine": "tao", "images": ["statistics"]},
        {"engine": "class101", "images": ["statistics"]},
    ]


def test_results_of_templates_get_the_type_of_the_key() -> None:
    """As templates yield it before ansible-core 2.19."""
    given = {
        "port": Computed("9001"), "pids": Computed("500"), "cpus": Computed("0.5"), "collaboration": Computed("True"),
        "memory": Computed("8G"), "password": Computed("12345678"), "environment": {"A": Computed("022")},
    }  # fmt: skip
    (planned,) = good([lab(**given)], port_range=[Computed("9000"), Computed("9500")])["lab_instances"]
    assert {key: {**planned, **planned["limits"]}[key] for key in given} == {
        "port": 9001, "pids": 500, "cpus": 0.5, "collaboration": True, "memory": 8 << 30, "password": "12345678",
        "environment": {"A": "022"},
    }  # fmt: skip
    _result, problems = plan([lab(port=Computed("x"), pids=Computed("1.5"), collaboration=Computed("yes"))])
    assert [problem.id for problem in problems] == ["wrong_type"] * 3


def test_a_domain_beyond_ascii_has_no_hint_without_idna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url, "idna", None)
    _result, problems = plan([lab(url="https://straße.example/")])
    assert [str(problem).rpartition("; ")[2] for problem in problems] == ["write the host name in punycode"]


@pytest.mark.parametrize(
    "text",
    ["400M", "1.5G", "512M", "6M", "16G", "2T", "1.25G", "100M", "1023M", "1K", "12", "0.5G=512M", "31.2G=31.2G"],
)
def test_sizes_are_shown_as_they_are_written(text: str) -> None:
    written, _unused, shown = text.partition("=")
    amount = size(0, 1 << 60, "", "")(written, "", Problems())
    assert size_text(amount) == (shown or written)
    summary = good([lab(memory="400M", cpus=1)])["summary"][0]
    assert summary.endswith("limits 400M of memory, 1 CPU")
