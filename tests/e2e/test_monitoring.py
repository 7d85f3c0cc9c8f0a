# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus scrapes a hub and its host: each expression of the dashboard and the alerts has an answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from testbed import hosts, images, pki
from testbed.patience import until
from testbed.run import run, succeeds

from .conftest import ROOT, Site, ansible_playbook, hostvars, hub_site, reset, run_on, visit
from .resets import DONE

ROLE = ROOT / "roles" / "monitoring"
RULES = ROLE / "files/prometheus/carrel-alerts.yml"
DASHBOARD = json.loads((ROLE / "files/grafana/carrel-jupyter.json").read_text())
ALERTS = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
NAME = "carrel-test-prometheus"
UNITS = ("carrel-metrics-health.timer", "carrel-metrics-disk.timer", "prometheus-node-exporter.service")
# Prometheus has the host's network, so it is asked there.
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
            {"job_name": "hosts", "static_configs": [{"targets": ["127.0.0.1:9100"]}]},
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
    """On the hub's host alone: the tests of other hosts compare what is installed there, and restart them."""
    hub = hub_site()
    folder = tmp_path_factory.mktemp("prometheus")
    config = folder / "config"
    config.mkdir()
    (config / "prometheus.yml").write_text(yaml.safe_dump(configuration(hub)))
    (config / "token").write_text(run_on(hub.host, "cat", f"/srv/{hub.name}/metrics-token"))
    shutil.copy(RULES, config)
    shutil.copy(pki.CA, config / "ca.crt")
    image = images.build("prometheus", parent=images.base())
    succeeds("docker", "rm", "--force", NAME)
    try:
        host = {hub.host: {**hostvars()[hub.host], "monitoring_top_users": 3}}
        assert ansible_playbook(folder, host, "playbooks/monitoring.yml").code == 0
        # As if that run had been killed after it wrote these. The next one reloads them, and changes nothing else.
        paths = [*(f"/etc/systemd/system/{name}" for name in (UNITS[0], "carrel-metrics@.service"))]
        run_on(hub.host, "touch", *paths, "/etc/default/prometheus-node-exporter")
        began = started(hub)
        second = ansible_playbook(folder, host, "playbooks/monitoring.yml")
        assert (second.code, second.changed) == (0, 1), second.output
        ask = ("systemctl", "show", "--property=NeedDaemonReload", "--value", *UNITS, "carrel-metrics@*.service")
        assert "yes" not in run_on(hub.host, *ask)
        assert all(new > old for new, old in zip(started(hub), began))
        # What this test measures is not to be replaced meanwhile.
        run_on(hub.host, "systemctl", "stop", *UNITS[:2])
        run(
            "docker", "run", "--detach", "--name", NAME, "--label", f"{hosts.LABEL}=test",
            "--label", f"{hosts.CHECKOUT}={hosts.HERE}", "--network", f"container:{hub.host}",
            "--volume", f"{config}:/config:ro", image,
        )  # fmt: skip
        until(lambda: asked(hub, "rules") is not None, "Prometheus answers")
        yield hub
    finally:
        succeeds("docker", "rm", "--force", NAME)
        run_on(hub.host, "systemctl", "disable", "--now", *UNITS, check=False)


def started(hub: Site) -> list[int]:
    """When the first timer and the node exporter began."""
    ask = ("systemctl", "show", "--property=InactiveExitTimestampMonotonic", "--value", UNITS[0], UNITS[-1])
    return [int(line) for line in run_on(hub.host, *ask).split()]


def asked(hub: Site, *words: str) -> Any:
    """None while Prometheus does not answer."""
    text = run_on(hub.host, "python3", "-c", ASK, *words, check=False)
    return json.loads(text)["data"] if text else None


def values(hub: Site, expression: str) -> list[float]:
    found = asked(hub, "query", expression) or {"result": []}
    return [float(series["value"][1]) for series in found["result"]]


def expressions() -> list[str]:
    return [target["expr"].replace("$host", ".*") for panel in DASHBOARD["panels"] for target in panel["targets"]]


def counts_memory(host: str) -> bool:
    """Whether the kernel counts it for each account here."""
    return bool(run_on(host, "sh", "-c", "ls /sys/fs/cgroup/user.slice/user-*.slice/memory.current 2>&-", check=False))


def has_own_disk(hub: Site) -> bool:
    """Whether the engine's data root is on another file system than the hub's directory."""
    engine = json.loads(run_on(hub.host, "cat", f"/var/lib/carrel/{hub.name}/instance.json"))["engine"]
    root = json.loads(run_on(hub.host, "cat", f"/etc/rootless-docker/{engine}/daemon.json"))["data-root"]
    return len(set(run_on(hub.host, "stat", "--format=%d", root, f"/srv/{hub.name}").split())) > 1


def test_every_panel_has_an_answer(prometheus: Site, hub: Site) -> None:
    code, _output = reset(hub, "--people", "skip", "--no-pull")
    assert code == DONE
    # Other tests have removed people, without whom no backup is a good one, and made the hub anew under its old name.
    run_on(hub.host, "carrel-backup", "run", hub.name, "--accept-missing", "--anew")
    run_on(hub.host, "carrel-backup", "drill", hub.name)
    with visit(hub, "ada") as ada:
        # increase() wants two samples of a counter that grew
        for _unused in range(2):
            ada.stop()
            ada.spawn()
            until(lambda: values(hub, "jupyterhub_server_spawn_duration_seconds_count"), "the hub is scraped")

        def healthy() -> bool:
            run_on(hub.host, "systemctl", "start", "carrel-metrics@health", "carrel-metrics@disk")
            up = values(hub, f'carrel_instance_up{{name="{hub.name}"}}')
            servers = values(hub, f'carrel_hub_running_servers{{name="{hub.name}"}}')
            return up == [1] and bool(servers) and servers[0] >= 1

        until(healthy, "the hub is up and has a server")
        wanted = [text for text in expressions() if "engine_memory" not in text or counts_memory(hub.host)]
        wanted = [text for text in wanted if "engine_filesystem" not in text or has_own_disk(hub)]
        assert len(wanted) > 20
        for text in wanted:
            until(lambda text=text: values(hub, text), f"Prometheus answers {text}")


def test_changes_by_hand_are_counted(prometheus: Site, hub: Site) -> None:
    file, proxy = f"/srv/{hub.name}/hub/jupyter_config.py", f"{hub.name}-proxy-1"

    def drift() -> dict[str, float]:
        found = asked(hub, "query", f'carrel_instance_drift{{name="{hub.name}"}}') or {"result": []}
        return {series["metric"]["what"]: float(series["value"][1]) for series in found["result"]}

    def comes(wanted: dict[str, float]) -> None:
        run_on(hub.host, "systemctl", "start", "carrel-metrics@health")
        until(lambda: drift() == wanted, lambda: f"{wanted}: {drift()}")

    run_on(hub.host, "systemctl", "start", "carrel-metrics@health")
    until(lambda: len(drift()) == 4, lambda: f"all are counted: {drift()}")
    before = drift()
    try:
        run_on(hub.host, "chmod", "0666", file)
        hub.docker("update", "--restart=no", proxy)
        comes({**before, "files": before["files"] + 1, "containers": before["containers"] + 1})
    finally:
        run_on(hub.host, "chmod", "0644", file)
        hub.docker("update", "--restart=unless-stopped", proxy)
    comes(before)


def test_every_alert_can_be_evaluated(prometheus: Site, hub: Site) -> None:
    def health() -> dict[str, str]:
        groups = (asked(hub, "rules") or {"groups": []})["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    until(lambda: health() == dict.fromkeys(ALERTS, "ok"), lambda: f"all rules are evaluated: {health()}")
