# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells Prometheus of its instances, and the files that are made for it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import status_samples as samples
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._host import metrics as program
from ansible_collections.carrel.jupyter.plugins.module_utils._host.disk_usage import subdirectories_bytes
from ansible_collections.carrel.jupyter.plugins.module_utils._report import metrics
from installed_modules import imported, install
from prometheus_client.parser import text_string_to_metric_families

from testbed.patience import until

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "monitoring"
DASHBOARD = json.loads((ROLE / "files/grafana/carrel-jupyter.json").read_text())
RULES = ROLE / "files/prometheus/carrel-alerts.yml"
CASES = Path(__file__).parent / "data/prometheus/alerts_test.yml"

Labels = frozenset[tuple[str, str]]


def read(text: str) -> dict[str, dict[Labels, float]]:
    """As Prometheus' own client reads it, which refuses a metric that comes twice."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type == "gauge"
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


def labels(**given: str) -> Labels:
    return frozenset(given.items())


seen = samples.instance


def health(*instances: dict[str, Any]) -> dict[str, dict[Labels, float]]:
    return read(metrics.health(instances, {"tao": 1 << 30}))


def test_a_healthy_instance() -> None:
    found = health(seen())
    assert found["carrel_instance_up"] == {labels(name="tao"): 1}
    assert found["carrel_instance_answer_seconds"] == {labels(name="tao"): 0.031}
    assert found["carrel_instance_problems"] == {
        labels(name="tao", level="error"): 0,
        labels(name="tao", level="warning"): 0,
    }
    assert found["carrel_engine_memory_bytes"] == {labels(engine="tao"): 1 << 30}
    ends = found["carrel_certificate_expiry_timestamp_seconds"][labels(name="tao")]
    assert round((ends - samples.NOW.timestamp()) / 86400) == 60
    assert found["carrel_instance_outdated_containers"] == {labels(name="tao"): 0}
    assert sum(found["carrel_reset_last_result"].values()) == 1
    assert found["carrel_reset_configured_timestamp_seconds"] == {labels(name="tao"): 1890813600}


def test_one_without_a_schedule_is_not_configured_for_resets() -> None:
    found = health(seen(schedule=None))
    assert found["carrel_reset_scheduled"] == {labels(name="tao"): 0}
    assert "carrel_reset_configured_timestamp_seconds" not in found


def test_one_that_does_not_answer_is_down_and_has_no_time() -> None:
    found = health(seen(site=samples.refused()))
    assert found["carrel_instance_up"] == {labels(name="tao"): 0}
    assert "carrel_instance_answer_seconds" not in found
    assert found["carrel_instance_problems"][labels(name="tao", level="error")] == 1


def test_one_that_could_not_be_asked_is_down_but_one_on_hold_is_not() -> None:
    assert health(seen(site=None))["carrel_instance_up"] == {labels(name="tao"): 0}
    assert "carrel_instance_up" not in health(seen(state="held", site=None))


def test_an_older_image_is_seen() -> None:
    found = health(seen(containers=[samples.container(as_tagged=False)]))
    assert found["carrel_instance_outdated_containers"] == {labels(name="tao"): 1}


def test_two_instances_of_one_engine_tell_of_it_once() -> None:
    assert list(health(seen(), seen(name="geo"))["carrel_engine_up"].values()) == [1]


def test_what_a_stranger_wrote_cannot_end_a_label() -> None:
    url = 'https://x/"} 1\ncarrel_instance_up{name="evil"} 0\\'
    found = health(seen(url=url))
    assert found["carrel_instance_up"] == {labels(name="tao"): 1}
    assert dict(next(iter(found["carrel_instance_info"])))["url"] == url


def test_one_that_cannot_be_told_is_down_and_leaves_the_others_their_metrics() -> None:
    for broken in ({"site": {"answers": True}}, {"disk": samples.disk(free_bytes=10**400)}, {"problems": [{}]}):
        found = health({**seen(), **broken}, seen(name="geo"))
        assert found["carrel_instance_up"] == {labels(name="tao"): 0, labels(name="geo"): 1}
        assert found["carrel_instance_problems"][labels(name="tao", level="error")] == 1
        assert list(found["carrel_filesystem_free_bytes"]) == [labels(name="geo")]
    text = metrics.disk([{**seen(), "disk": samples.disk(images_bytes="many")}, seen(name="geo")], {}, 0)
    assert list(read(text)["carrel_instance_disk_bytes"]) == [labels(name="geo")]


def test_an_engine_has_metrics_of_its_disk_only_if_it_is_another_one() -> None:
    found = health(seen())
    assert found["carrel_filesystem_used_ratio"] == {labels(name="tao"): 0.4}
    assert found["carrel_filesystem_inodes_used_ratio"] == {labels(name="tao"): 0.1}
    assert not [name for name in found if name.startswith("carrel_engine_filesystem")]
    elsewhere = {"directory": "/docker/tao", "free_bytes": 1, "used_percent": 95, "files_percent": 3}
    found = health(seen(disk=samples.disk(engine=elsewhere)))
    assert found["carrel_engine_filesystem_used_ratio"] == {labels(engine="tao"): 0.95}
    assert found["carrel_engine_filesystem_inodes_used_ratio"] == {labels(engine="tao"): 0.03}


def test_the_users_who_have_most() -> None:
    sizes = {"class101": {"ada": 5, "grace": 7, 'bob"s': 1}}
    found = read(metrics.disk([seen()], sizes, 2))
    assert found["carrel_user_disk_bytes"] == {
        labels(name="class101", user="grace"): 7,
        labels(name="class101", user="ada"): 5,
    }
    assert "carrel_user_disk_bytes" not in read(metrics.disk([seen()], sizes, 0))


def test_backups_and_drills() -> None:
    ended = "2026-03-01T01:00:00+00:00"
    drill = {"result": "failed", "good": None}
    backup = {"result": "done", "good": ended, "since": ended, "scheduled": True, "drilled": True, "drill": drill}
    found = health({**seen(), "backup": backup})
    assert found["carrel_backup_scheduled"] == found["carrel_drill_scheduled"] == {labels(name="tao"): 1}
    assert found["carrel_backup_last_success_timestamp_seconds"] == {labels(name="tao"): 1772326800}
    assert found["carrel_backup_configured_timestamp_seconds"] == {labels(name="tao"): 1772326800}
    assert found["carrel_backup_last_result"][labels(name="tao", result="done")] == 1
    assert found["carrel_drill_last_result"][labels(name="tao", result="failed")] == 1
    assert sum(found["carrel_drill_last_result"].values()) == 1
    assert "carrel_drill_last_success_timestamp_seconds" not in found
    without = health(seen())
    assert without["carrel_backup_scheduled"] == {labels(name="tao"): 0} and "carrel_backup_last_result" not in without


def test_directories_are_added_up(tmp_path: Path) -> None:
    for name, count in (("ada", 100), ("strange\nname", 300)):
        (tmp_path / name / "home").mkdir(parents=True)
        (tmp_path / name / "home/file").write_bytes(b"x" * count * 1024)
    (tmp_path / "no directory").write_text("x")
    found = subdirectories_bytes(str(tmp_path), 10)
    assert set(found) == {"ada", "strange\nname"}
    assert 100 * 1024 <= found["ada"] < 200 * 1024 < found["strange\nname"]


def installed(folder: Path) -> Path:
    """What the role puts on a host."""
    modules = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__monitoring_modules"]
    assert set(modules) == imported("_host/metrics.py")
    install(modules, folder)
    return folder


def command(library: Path, root: Path, *arguments: str) -> list[str]:
    program = (ROLE / "files/carrel-metrics").read_text()
    program = program.replace("/usr/local/lib/carrel/metrics", str(library))
    program = program.replace("main(sys.argv[1:])", f"main(sys.argv[1:], {str(root)!r})")
    return [sys.executable, "-I", "-B", "-c", program, *arguments]


def run(library: Path, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(library, root, *arguments), capture_output=True, text=True, check=False)


def host(root: Path, textfiles: Path) -> dict[str, Any]:
    """A folder that stands for a host's root, with a hub; the settings."""
    (root / "etc/carrel").mkdir(parents=True)
    textfiles.mkdir()
    settings = {
        "textfile_directory": str(textfiles), "health_address": "127.0.0.1", "timeout_seconds": 1,
        "disk_timeout_seconds": 10, "top_users": 3,
    }  # fmt: skip
    (root / "etc/carrel/monitoring.json").write_text(json.dumps(settings))
    record = root / "var/lib/carrel/class101/instance.json"
    record.parent.mkdir(parents=True)
    users = root / "srv/class101/data/users"
    (users / "ada-40uni-2eexample/home").mkdir(parents=True)
    (root / "srv/class101/hub").mkdir()
    record.write_text(json.dumps({
        "name": "class101", "kind": "hub", "engine": "nobody-here", "directory": "/srv/class101", "state": "present",
        "url": "http://127.0.0.1:9/", "port": 9,
    }))  # fmt: skip
    return settings


def test_the_program_needs_only_what_the_role_installs(tmp_path: Path) -> None:
    library, root, textfiles = installed(tmp_path / "library"), tmp_path / "root", tmp_path / "textfiles"
    settings = host(root, textfiles)
    for what in ("health", "disk"):
        done = run(library, root, what)
        assert (done.returncode, done.stderr) == (0, "")
    found = read((textfiles / "carrel_health.prom").read_text())
    assert found["carrel_instance_up"] == {labels(name="class101"): 0}
    disk = read((textfiles / "carrel_disk.prom").read_text())
    assert list(disk["carrel_user_disk_bytes"]) == [labels(name="class101", user="ada@uni.example")]
    assert sorted(path.name for path in textfiles.iterdir()) == ["carrel_disk.prom", "carrel_health.prom"]
    assert found["carrel_collection_success"] == {labels(what="health"): 1}
    assert disk["carrel_collection_success"] == {labels(what="disk"): 1}
    assert run(library, root, "everything").returncode == 2
    del settings["timeout_seconds"]
    (root / "etc/carrel/monitoring.json").write_text(json.dumps(settings))
    for what in ("health", "disk"):
        assert "KeyError: 'timeout_seconds'" in run(library, root, what).stderr
        found = read((textfiles / f"carrel_{what}.prom").read_text())
        assert found == {"carrel_collection_success": {labels(what=what): 0}}, "nothing of the last run stays"


def test_a_run_has_one_end_for_all_that_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host(tmp_path / "root", tmp_path / "textfiles")
    file = tmp_path / "textfiles/carrel_disk.prom"
    assert program.main(["disk"], str(tmp_path / "root")) == 0
    assert "carrel_instance_disk_bytes" in read(file.read_text())
    monkeypatch.setattr(program, "SECONDS", 0)
    assert program.main(["disk"], str(tmp_path / "root")) == 0
    assert read(file.read_text()) == {"carrel_collection_success": {labels(what="disk"): 1}}
    unit = (ROLE / "templates/carrel-metrics@.service.j2").read_text()
    assert "TimeoutStartSec=1h\n" in unit


def test_a_run_that_is_told_to_end_leaves_no_old_values(tmp_path: Path) -> None:
    """As systemd does after TimeoutStartSec."""
    library, root, textfiles = installed(tmp_path / "library"), tmp_path / "root", tmp_path / "textfiles"
    host(root, textfiles)
    assert run(library, root, "disk").returncode == 0
    file, began, ended = textfiles / "carrel_disk.prom", tmp_path / "began", tmp_path / "ended"
    slow = tmp_path / "bin/du"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\ntouch {began}\nsleep 9\ntouch {ended}\n")
    slow.chmod(0o755)
    environment = {**os.environ, "PATH": f"{slow.parent}:{os.environ['PATH']}"}
    disk = command(library, root, "disk")
    with subprocess.Popen(disk, env=environment, stderr=subprocess.PIPE, text=True) as measuring:
        until(began.exists, "it measures")
        assert "carrel_instance_disk_bytes" in read(file.read_text())
        measuring.terminate()
        until(lambda: "carrel_instance" not in file.read_text(), "it writes that it failed")
        assert not ended.exists(), "du is not waited for"
        assert measuring.stderr is not None and "was told to end" in measuring.stderr.read()
    assert measuring.returncode == 1
    assert read(file.read_text()) == {"carrel_collection_success": {labels(what="disk"): 0}}


def expressions() -> list[str]:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return asked + [rule["expr"] for rule in rules]


def test_dashboard_and_rules_ask_for_metrics_that_exist() -> None:
    used = {name for text in expressions() for name in re.findall(r"\b(?:carrel|node|jupyterhub)_\w+", text)}
    ours = {name for name in used if name.startswith("carrel_")} - {"carrel_health", "carrel_disk", "carrel_"}
    known = {**metrics.HEALTH, **metrics.DISK, **metrics.COLLECTIONS}
    assert ours <= set(known)
    assert set(known) - ours == {"carrel_filesystem_free_bytes"}


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs/reference/metrics.md").read_text()
    assert [name for name in {**metrics.HEALTH, **metrics.DISK, **metrics.COLLECTIONS} if f"`{name}`" not in text] == []


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & cells and max(x for x, _y in own) < 24, panel["title"]
        cells |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_rule_has_cases_in_which_it_fires_and_in_which_it_does_not() -> None:
    rules = {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    assert rules == {case["alertname"] for case in cases if case["exp_alerts"]}
    assert rules == {case["alertname"] for case in cases if not case["exp_alerts"]}
