# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""carrel-metrics counts what somebody changed by hand in a lab that runs in a real engine. Runs as root."""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.carrel.jupyter.plugins.module_utils._host import metrics
from ansible_collections.carrel.jupyter.plugins.module_utils._host.drift import Found, Project
from ansible_collections.carrel.jupyter.plugins.module_utils._site import deployed, lab
from lab_site import ENGINE, SERVICE, SOCKET, LabSite, module
from module_runner import open_to_all
from prometheus_client.parser import text_string_to_metric_families
from test_module_instance_status import Relay

from testbed.patience import until
from testbed.run import ROOT, run, succeeds

AS_DEPLOYED = {"files": 0, "containers": 0, "images": 0, "state": 0}


class Host:
    """A folder that stands for a host's root, and a lab of the outer engine."""

    def __init__(self, root: Path) -> None:
        self.root, self.directory = root, root / "srv/tao"
        self.name = f"carrel-test-drift-{os.getpid()}"
        self.tag = f"{self.name}:1"
        run("docker", "tag", os.environ["CARREL_TEST_LAB_IMAGE"], self.tag)
        self.site = LabSite(self.directory, self.name, image=self.tag, password="correct horse")
        self.state = root / "var/lib/carrel" / self.name
        settings = {
            "textfile_directory": str(root), "health_address": "127.0.0.1", "timeout_seconds": 10,
            "disk_timeout_seconds": 1, "top_users": 0,
        }  # fmt: skip
        for folder in (root / "etc/carrel", root / "run/user/0"):
            folder.mkdir(parents=True)
        (root / "etc/carrel/monitoring.json").write_text(json.dumps(settings))
        relay = socketserver.ThreadingUnixStreamServer(str(root / "run/user/0/docker.sock"), Relay)
        relay.daemon_threads = True
        threading.Thread(target=relay.serve_forever, daemon=True).start()

    def deploy(self) -> None:
        """Write files as the role's tasks/deploy.yml does, but the state below this root."""
        instance, image = self.site.instance, {**self.site.image, "image": self.tag}
        self.project = lab.project(instance, ENGINE, image)
        config = (self.directory / "server/jupyter_server_config.json").read_bytes()
        self.checksum = deployed.lab_config(config)
        programs = {path.name: path.read_text() for path in (ROOT / "roles/lab/files").glob("*.py")}
        wanted = lab.files(instance, ENGINE, self.project, self.checksum, programs)
        state = "/var/lib/carrel"
        for file in wanted["files"]:
            if file["path"].startswith(state):
                file["path"] = f"{self.root}{file['path']}"
        secret = {
            f"{self.root}{path}" if path.startswith(state) else path: text.replace(f'"{self.root}', '"')
            for path, text in wanted["secret_contents"].items()
        }
        module("install_files", files=wanted["files"], secret_contents=secret)
        self.record(state="present")

    def record(self, state: str) -> None:
        found = {"name": self.name, "kind": "lab", "engine": "root", "directory": "/srv/tao", "url": "https://x:9/"}
        (self.state / "instance.json").write_text(json.dumps({**found, "state": state, "port": 9, "second_port": 9}))

    def drift(self) -> dict[str, float]:
        assert metrics.main(["health"], str(self.root)) == 0
        text = (self.root / "carrel_health.prom").read_text()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {
            sample.labels["what"]: sample.value
            for sample in samples
            if sample.name == "carrel_instance_drift" and sample.labels["name"] == self.name
        }

    def note_what_recreating_does_not_mend(self) -> None:
        """As the role does. Engines before 25 know no start_interval, so their containers differ for ever."""
        services = lab.labelled(self.project, self.checksum)["services"]
        found, project = Found(), Project(self.name, {"socket": SOCKET})
        project.compare(found, services[SERVICE], SERVICE, self.project["environment"], project.containers())
        assert all("healthcheck" in text for texts in found.by_hand.values() for text in texts)
        (self.state / "made_anew.json").write_text(json.dumps(found.by_hand))

    def by_hand(self, service: str, *options: str) -> str:
        labels = (f"com.docker.compose.project={self.name}", f"com.docker.compose.service={service}")
        marks = [f"--label={label}" for label in labels]
        name = f"{self.name}-by-hand-{service}"
        return run("docker", "run", "--detach", "--name", name, *marks, *options, self.tag, "sleep", "300")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(open_to_all(tmp_path_factory.mktemp("drift")))
    with host.site:
        host.deploy()
        host.note_what_recreating_does_not_mend()
        yield host
    succeeds("docker", "rm", "--force", f"{host.name}-by-hand-{SERVICE}", f"{host.name}-by-hand-postgres")
    succeeds("docker", "rmi", "--force", host.tag)


@contextlib.contextmanager
def changed(path: Path, content: bytes | None, mode: int | None = None) -> Iterator[None]:
    before, status = path.read_bytes(), path.stat()
    path.chmod(0o600 if mode is None else mode)
    path.unlink() if content is None else path.write_bytes(content)
    yield
    path.write_bytes(before)
    os.chown(path, status.st_uid, status.st_gid)
    path.chmod(status.st_mode & 0o7777)


def test_files(host: Host) -> None:
    assert host.drift() == AS_DEPLOYED
    server = host.directory / "server"
    config = json.loads((server / "jupyter_server_config.json").read_text())
    config["PasswordIdentityProvider"]["hashed_password"] = ""
    compose_text = (host.directory / "compose.yaml").read_bytes()
    with (
        changed(server / "healthcheck.py", b"raise SystemExit(0)\n", 0o644),
        changed(server / "jupyter_server_config.json", json.dumps(config).encode(), 0o400),
        changed(host.directory / ".env", (host.directory / ".env").read_bytes(), 0o644),
        changed(server / "smoke.json", None),
    ):
        assert host.drift() == {**AS_DEPLOYED, "files": 4}
    with changed(host.directory / "compose.yaml", b"# more memory\n" + compose_text, 0o640):
        # It is not JSON any more, so containers cannot be compared with it.
        assert host.drift() == {"files": 1}
    assert host.drift() == AS_DEPLOYED


def test_containers_and_images(host: Host) -> None:
    run("docker", "pause", host.site.container)
    assert host.drift() == {**AS_DEPLOYED, "state": 1}
    run("docker", "unpause", host.site.container)
    # Docker's check of a paused container has failed.
    until(lambda: host.drift() == AS_DEPLOYED, "it is healthy again")
    run("docker", "update", "--restart=no", host.site.container)
    assert host.drift() == {**AS_DEPLOYED, "containers": 1}
    run("docker", "update", "--restart=unless-stopped", host.site.container)
    stranger = host.by_hand("postgres")
    assert host.drift() == {**AS_DEPLOYED, "containers": 1}
    run("docker", "rm", "--force", stranger)
    other = run("docker", "create", host.tag)
    image = run("docker", "commit", "--message", "another", other)
    run("docker", "rm", other)
    run("docker", "tag", image, host.tag)
    assert host.drift() == {**AS_DEPLOYED, "images": 1}
    run("docker", "tag", os.environ["CARREL_TEST_LAB_IMAGE"], host.tag)
    run("docker", "rmi", image)
    assert host.drift() == AS_DEPLOYED


def test_one_that_is_recreated_by_hand(host: Host) -> None:
    """The last test of this lab: its container is gone then."""
    run("docker", "stop", "--time", "1", host.site.container)
    assert host.drift() == {**AS_DEPLOYED, "state": 1}
    host.record(state="held")
    assert host.drift() == {"state": 0}
    host.record(state="present")
    run("docker", "rm", host.site.container)
    assert host.drift() == {**AS_DEPLOYED, "state": 1}
    host.by_hand(SERVICE)
    found = host.drift()
    assert found["containers"] == 1 and found["images"] == 0
    host.record(state="held")
    assert host.drift() == {"state": 1}
