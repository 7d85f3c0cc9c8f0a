# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus scrapes the test hosts and a hub: each expression of the dashboard and the alerts has an answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from testbed import images, pki
from testbed.patience import until
from testbed.run import run

from .conftest import ROOT, Site, ansible_playbook, enter, hostvars, hub_site, reset, run_on

ROLE = ROOT / "roles" / "monitoring"
RULES = ROLE / "files/prometheus/carrel-alerts.yml"
DASHBOARD = json.loads((ROLE / "files/grafana/carrel-jupyter.json").read_text())
NAME = "carrel-test-prometheus"
# It asks the Prometheus from within the host whose network that has.
ASK = """
import sys, urllib.parse, urllib.request
data = urllib.parse.urlencode({"query": sys.argv[2]}).encode() if len(sys.argv) > 2 else None
print(urllib.request.urlopen("http://127.0.0.1:9090/api/v1/" + sys.argv[1], data, 30).read().decode())
"""


def configuration(hub: Site) -> dict[str, Any]:
    """As docs/howto/monitoring.md has it."""
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["carrel-alerts.yml"],
        "scrape_configs": [
            {"job_name": "hosts", "static_configs": [{"targets": [f"{host}:9100" for host in hostvars()]}]},
            {
                "job_name": hub.name,
                "metrics_path": "/class/hub/metrics",
                "authorization": {"type": "token", "credentials_file": "/config/token"},
                "scheme": "https",
                "tls_config": {"ca_file": "/config/ca.crt"},
                "static_configs": [{"targets": [hub.url.split("/")[2]]}],
            },
        ],
    }


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    hub = hub_site()
    folder = tmp_path_factory.mktemp("prometheus")
    hosts = {host: {**variables, "monitoring_listen": "0.0.0.0:9100"} for host, variables in hostvars().items()}
    first = ansible_playbook(folder, hosts, "playbooks/monitoring.yml")
    assert first.code == 0
    second = ansible_playbook(folder, hosts, "playbooks/monitoring.yml")
    assert (second.code, second.changed) == (0, 0)
    config = folder / "config"
    config.mkdir()
    (config / "prometheus.yml").write_text(yaml.safe_dump(configuration(hub)))
    (config / "token").write_text(run_on(hub.host, "cat", f"/srv/{hub.name}/metrics-token"))
    shutil.copy(RULES, config)
    shutil.copy(pki.CA, config / "ca.crt")
    image = images.build("prometheus", parent=images.base())
    try:
        run(
            "docker", "run", "--detach", "--name", NAME, "--label", "carrel.testbed=test",
            "--network", f"container:{hub.host}", "--volume", f"{config}:/config:ro", image,
        )  # fmt: skip
        yield hub
    finally:
        run("docker", "rm", "--force", NAME)
        for host in hosts:
            run_on(host, "systemctl", "disable", "--now", "carrel-metrics-health.timer", "carrel-metrics-disk.timer")


def ask(hub: Site, *words: str) -> Any:
    found = json.loads(run_on(hub.host, "python3", "-c", ASK, *words))
    assert found["status"] == "success"
    return found["data"]


def values(hub: Site, expression: str) -> list[float]:
    return [float(series["value"][1]) for series in ask(hub, "query", expression)["result"]]


def expressions() -> list[str]:
    return [target["expr"].replace("$host", ".*") for panel in DASHBOARD["panels"] for target in panel["targets"]]


def counted(host: str) -> bool:
    """Whether the kernel counts memory for each account here."""
    return bool(run_on(host, "sh", "-c", "ls /sys/fs/cgroup/user.slice/user-*.slice/memory.current 2>&-", check=False))


def test_every_panel_has_an_answer(prometheus: Site, hub: Site) -> None:
    with enter(hub, "ada") as ada:
        ada.stop()
        ada.spawn()
        reset(hub, "--people", "skip", "--no-pull")
        for host in hostvars():
            run_on(host, "systemctl", "start", "carrel-metrics@health", "carrel-metrics@disk")
        asked = [text for text in expressions() if "engine_memory" not in text or counted(hub.host)]
        assert len(asked) > 20
        # increase() wants two samples of a counter that grew
        ada.stop()
        ada.spawn()
        for text in asked:
            until(lambda text=text: values(hub, text), f"Prometheus answers {text}")
        assert values(hub, f'carrel_instance_up{{name="{hub.name}"}}') == [1]
        assert values(hub, f'carrel_hub_running_servers{{name="{hub.name}"}}')[0] >= 1
        assert len(values(hub, "node_textfile_mtime_seconds")) >= 2 * len(hostvars())
        ada.stop()


def test_every_alert_can_be_evaluated(prometheus: Site, hub: Site) -> None:
    wanted = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}

    def found() -> dict[str, str]:
        return {rule["name"]: rule["health"] for group in ask(hub, "rules")["groups"] for rule in group["rules"]}

    until(lambda: "unknown" not in found().values(), "all rules are evaluated")
    assert found() == dict.fromkeys(wanted, "ok")
