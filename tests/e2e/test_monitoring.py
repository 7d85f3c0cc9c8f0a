# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus on a hub's host asks the node exporter and the hub, and answers every panel of the dashboard."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._report import metrics

from tests.unit import status_samples

from .conftest import INVENTORY, ROOT, Site, plain, run_on, until

ROLE = ROOT / "roles" / "monitoring" / "files"
FOLDER = "/var/tmp/prometheus"
TEXTFILES = "/var/lib/prometheus/node-exporter"
# Prometheus asks each second: two answers are there soon, which rate() needs.
CONFIG = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: hosts
    static_configs: [{targets: ["127.0.0.1:9100"]}]
  - job_name: hub
    scheme: https
    metrics_path: PATHhub/metrics
    authorization: {type: token, credentials_file: /srv/NAME/metrics-token}
    tls_config: {insecure_skip_verify: true}
    static_configs: [{targets: ["127.0.0.1:PORT"]}]
"""


def put(host: str, path: str, text: str) -> None:
    run_on(host, "sh", "-c", f"cat > {path}", input_text=text)


def ask(host: str, expression: str) -> list[Any]:
    query = ["curl", "-sS", "--get", "--data-urlencode", f"query={expression}", "http://127.0.0.1:9099/api/v1/query"]
    answer = json.loads(run_on(host, *query))
    assert answer["status"] == "success", f"{expression}: {answer}"
    found: list[Any] = answer["data"]["result"]
    return found


def monitor(host: str, inventory: Path = INVENTORY) -> str:
    done = subprocess.run(
        ["ansible-playbook", "-i", inventory, "playbooks/monitoring.yml", "--limit", host],
        cwd=ROOT, env=plain(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def prometheus(hub: Site) -> Iterator[str]:
    host = hub.host
    monitor(host)
    install = "command -v prometheus curl >/dev/null || apt-get -qq install --no-install-recommends prometheus curl"
    run_on(host, "env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", f"{install} >/dev/null")
    run_on(host, "systemctl", "disable", "--quiet", "--now", "prometheus")
    # What these hosts do not have: a lab that has been reset, memory by account, users with files.
    sample = status_samples.instance(name="sample", engine={**status_samples.instance()["engine"], "name": "sample"})
    put(host, f"{TEXTFILES}/sample_health.prom", metrics.health([sample], {"sample": 1 << 30}))
    put(host, f"{TEXTFILES}/sample_disk.prom", metrics.disk([sample], {"sample": {"ada": 1}}, 10))
    run_on(host, "mkdir", "-p", FOLDER)
    found = re.fullmatch(r"https://[^/:]+(?::(\d+))?(/.*)", hub.url)
    assert found
    config = CONFIG.replace("PATH", found[2]).replace("NAME", hub.name).replace("PORT", found[1] or "443")
    put(host, f"{FOLDER}/prometheus.yml", config)
    run_on(
        host, "systemd-run", "--quiet", "--unit=test-prometheus",
        "prometheus", f"--config.file={FOLDER}/prometheus.yml", f"--storage.tsdb.path={FOLDER}/data",
        "--web.listen-address=127.0.0.1:9099",
    )  # fmt: skip
    run_on(host, "systemctl", "start", "carrel-metrics@health", "carrel-metrics@disk")
    yield host
    run_on(host, "systemctl", "stop", "test-prometheus")
    run_on(host, "rm", "-rf", FOLDER, f"{TEXTFILES}/sample_health.prom", f"{TEXTFILES}/sample_disk.prom")


def test_every_panel_of_the_dashboard_gets_an_answer(prometheus: str, hub: Site) -> None:
    dashboard = json.loads((ROLE / "grafana/carrel-jupyter.json").read_text())
    panels = {target["expr"].replace("$host", ".*"): panel["title"]
              for panel in dashboard["panels"] for target in panel["targets"]}  # fmt: skip

    def unanswered() -> list[str]:
        return [title for expression, title in panels.items() if not ask(prometheus, expression)]

    until(lambda: not unanswered(), "every panel gets an answer")


def test_what_is_there_is_seen(prometheus: str, hub: Site) -> None:
    (up,) = ask(prometheus, f'carrel_instance_up{{name="{hub.name}"}}')
    assert up["value"][1] == "1"
    (users,) = ask(prometheus, f'carrel_hub_users{{name="{hub.name}"}}')
    assert int(users["value"][1]) == len(hub.declared["users"])
    assert ask(prometheus, f'carrel_instance_disk_bytes{{name="{hub.name}"}}')


def test_the_rules_fire_as_their_cases_say(prometheus: str) -> None:
    put(prometheus, f"{FOLDER}/carrel-alerts.yml", (ROLE / "prometheus/carrel-alerts.yml").read_text())
    cases = ROOT / "tests/unit/data/prometheus/alerts_test.yml"
    put(prometheus, f"{FOLDER}/alerts_test.yml", cases.read_text())
    run_on(prometheus, "promtool", "test", "rules", f"{FOLDER}/alerts_test.yml")


def test_a_second_run_changes_nothing(prometheus: str) -> None:
    assert re.search(r"changed=0 ", monitor(prometheus))


def test_the_program_can_write_nothing_but_its_files(prometheus: str) -> None:
    """The service's own limits, with another program in its place."""
    said = run_on(
        prometheus, "sh", "-c",
        "systemctl cat carrel-metrics@.service | sed -n '/^\\[Service\\]/,$p' | grep -v '^#' "
        "| sed 's#^ExecStart=.*#ExecStart=/bin/sh -c \"touch /etc/carrel/x /var/lib/prometheus/node-exporter/x.tmp\"#' "
        "> /run/systemd/system/carrel-try.service && systemctl daemon-reload && systemctl start carrel-try; "
        "ls /etc/carrel/x /var/lib/prometheus/node-exporter/x.tmp 2>&1; "
        "rm -f /run/systemd/system/carrel-try.service /var/lib/prometheus/node-exporter/x.tmp; systemctl daemon-reload",
        check=False,
    )  # fmt: skip
    assert "cannot access '/etc/carrel/x'" in said
    assert "\n/var/lib/prometheus/node-exporter/x.tmp" in f"\n{said}"
