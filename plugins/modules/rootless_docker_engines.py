#!/usr/bin/python
# Copyright: the carrel.jupyter authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: rootless_docker_engines
short_description: Configure and run rootless Docker engines
version_added: 0.1.0
author:
  - the carrel.jupyter authors (@carrel)
description:
  - Configures any number of rootless Docker engines, each run by the systemd manager of the account of the same
    name, and starts, restarts or stops them. Waits until every started engine answers on its socket.
  - Writes one user unit for all engines, the delegation of cgroup controllers, the accounts' C(DOCKER_HOST), and each
    engine's C(/etc/rootless-docker/NAME/daemon.json) and data root. Nothing is written in an account's home.
  - An engine is restarted only if the unit or its own C(daemon.json) is newer than its process.
  - The runtime C(carrel-egress) stays in a C(daemon.json) that has it, because containers may need it to start.
  - C(dockerd) validates every C(daemon.json) before anything is changed. If an engine does not start with a new one,
    it gets its old one back.
  - Stopping an engine deletes nothing.
extends_documentation_fragment:
  - carrel.jupyter.attributes
attributes:
  check_mode:
    support: full
    details: In check mode, accounts and Docker may be missing.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  engines:
    description: The engines.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name of the engine and of its account.
        type: str
        required: true
      state:
        description: Whether it runs, also after a boot.
        type: str
        choices: [started, stopped]
        default: started
      data_root:
        description: Where it keeps images, containers and volumes; by default a directory below O(data_root).
        type: path
      daemon_options:
        description: Options for its C(daemon.json); they override O(daemon_options).
        type: dict
        default: {}
      disk:
        description:
          - Bytes that its data root may take, by a project quota of the file system; 0 removes a limit of this module.
          - If the data root has content already, the engine gets no limit, with a warning. Its marks for deleted
            files can't be put into a project, and containers could not change those files any more.
        type: int
        default: 0
  data_root:
    description: The directory for the data roots of engines that do not set their own.
    type: path
    default: /srv/docker
  daemon_options:
    description: Options for the C(daemon.json) of all engines.
    type: dict
    default: {}
  launcher:
    description: Path of C(dockerd-rootless.sh).
    type: path
    required: true
  environment:
    description: Environment variables for O(launcher).
    type: dict
    default: {}
  timeout:
    description: Seconds that an engine may take to answer.
    type: int
    default: 90
seealso:
  - module: carrel.jupyter.rootless_docker_info
  - module: carrel.jupyter.subordinate_ids
"""

EXAMPLES = r"""
- name: Run two engines
  carrel.jupyter.rootless_docker_engines:
    launcher: /usr/share/docker.io/contrib/dockerd-rootless.sh
    engines:
      - name: ada
      - name: grace
        daemon_options:
          registry-mirrors: [https://mirror.example.org]
"""

RETURN = r"""
engines:
  description:
    - The running engines; in check mode those that run already.
    - C(replaced) lists programs that a package upgrade replaced, while the engine runs the old ones until it is
      restarted; there is a warning, too.
  returned: success
  type: dict
  sample:
    ada:
      uid: 1000
      socket: /run/user/1000/docker.sock
      version: 26.1.5
      replaced: []
      limits_enforced: true
"""

import contextlib
import os
import pwd
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.file import File
from ansible_collections.carrel.jupyter.plugins.module_utils._changes.tracker import Tracker
from ansible_collections.carrel.jupyter.plugins.module_utils._engine import programs
from ansible_collections.carrel.jupyter.plugins.module_utils._engine import rootless_docker as decide
from ansible_collections.carrel.jupyter.plugins.module_utils._engine.units import Unit
from ansible_collections.carrel.jupyter.plugins.module_utils._host import engine_programs, file_times, files, install
from ansible_collections.carrel.jupyter.plugins.module_utils._host.account import Account
from ansible_collections.carrel.jupyter.plugins.module_utils._host.install import Installation
from ansible_collections.carrel.jupyter.plugins.module_utils._host.process import EndlessError
from ansible_collections.carrel.jupyter.plugins.module_utils._site.quotas import ForeignProjectError


class EngineError(Exception):
    """An engine cannot be brought into its state; the text says why."""


class Engine:
    def __init__(self, module: AnsibleModule, options: dict[str, Any]) -> None:
        self.module = module
        self.name: str = options["name"]
        self.started: bool = options["state"] == "started"
        self.data_root: str = options["data_root"] or os.path.join(module.params["data_root"], self.name)
        self.disk: int = options["disk"]
        self.path = decide.config_path(self.name)
        self.former = files.read(self.path)
        self.config = File(
            decide.daemon_json(
                self.name,
                self.data_root,
                module.params["daemon_options"],
                options["daemon_options"],
                self.former.content if self.former else b"{}",
            ).encode()
        )
        # In check mode it may be missing.
        self.found: Account | None = None
        with contextlib.suppress(KeyError):
            self.found = Account(pwd.getpwnam(self.name))
        if self.started and not module.check_mode:
            _unused = self.account

    @property
    def account(self) -> Account:
        if not self.found:
            raise EngineError(f"engine {self.name}: there is no account of this name; create it first")
        return self.found

    def validate(self) -> None:
        """Find what is wrong before anything is changed."""
        self.has_data_root = os.path.lexists(self.data_root)
        owner = os.lstat(self.data_root).st_uid if self.has_data_root else None
        if owner is not None and self.found and owner != self.found.uid:
            raise EngineError(
                f"engine {self.name}: its data root {self.data_root} belongs to uid {owner} and not to {self.name}"
                f" (uid {self.found.uid}): choose another data_root, or move the directory away"
            )
        dockerd = self.module.get_bin_path("dockerd")
        if self.config == self.former or not dockerd:
            return
        with tempfile.TemporaryDirectory(prefix="carrel-") as folder:
            tried = f"{folder}/daemon.json"
            Path(tried).write_bytes(self.config.content)
            status, output, error = self.module.run_command([dockerd, "--validate", "--config-file", tried])
        if status != 0:
            reason = (error or output).strip().replace(tried, self.path)
            raise EngineError(f"engine {self.name}: dockerd does not accept its daemon_options: {reason}")

    def prepare(self, tracker: Tracker) -> None:
        """Its data root and its configuration."""
        root = "directory\n" if self.has_data_root else None
        if tracker.note(self.data_root, root, "directory\n") and not self.module.check_mode:
            files.make_directory(self.data_root, self.account.uid, self.account.gid, 0o710)
        limited = Installation(tracker, self.module.check_mode)
        limited.run([], [], {}, [], [{"paths": [self.data_root], "bytes": self.disk, "empty": True}])
        for warning in limited.quotas.warnings():
            self.module.warn(warning)
        shown = (self.former.describe() if self.former else "", self.config.describe())
        if tracker.note(self.path, self.former, self.config, show=shown) and not self.module.check_mode:
            files.write(self.path, self.config)

    def step(self, unit_is_new: bool) -> str | None:
        service = self.found.service() if self.found else Unit()
        if self.module.check_mode and (unit_is_new or self.config != self.former):
            return service.step(time.monotonic())
        return service.step(file_times.youngest([self.path, decide.UNIT_PATH]))

    def begin(self, step: str) -> None:
        """Have systemd start or restart it, and do not wait."""
        account = self.account
        file_times.end_future([self.path, decide.UNIT_PATH])
        if not account.manager_runs:
            self.module.run_command(["systemctl", "start", f"user@{account.uid}.service"], check_rc=True)
        service = account.service()
        if service.load != "loaded" or service.needs_reload:
            account.systemctl("daemon-reload")
        account.systemctl("reset-failed", decide.UNIT)
        done = account.systemctl("--no-block", step, decide.UNIT)
        if done.code != 0:
            raise EngineError(f"engine {self.name}: systemctl --user {step} failed: {done.errors.strip()}")

    def wait(self) -> dict[str, Any]:
        account = self.account
        deadline = time.monotonic() + self.module.params["timeout"]
        # An unmet condition leaves the unit inactive, just as a start that is still queued does.
        patience = time.monotonic() + 5
        while True:
            active = account.service().active
            info = account.info() if active == "active" else None
            if info:
                return info
            now = time.monotonic()
            if active == "failed" or (active == "inactive" and now > patience) or now > deadline:
                seconds = self.module.params["timeout"]
                reason = "did not start" if now <= deadline else f"did not answer within {seconds} s"
                raise EngineError(
                    f"engine {self.name} {reason} (its unit is {active}).\n{decide.explain(account.log(), self.name)}"
                )
            time.sleep(0.1)

    def restore(self) -> str:
        """After a failure: the former configuration, if this run has replaced it."""
        if self.former is None or self.former == self.config:
            return ""
        files.write(self.path, self.former)
        try:
            self.begin("restart")
            self.wait()
        except EngineError:
            return f"\n{self.path} is the former one again, but the engine does not start with it either."
        return f"\n{self.path} is the former one again, and the engine runs with it."

    def stop(self, tracker: Tracker) -> None:
        if not self.found:
            return
        account = self.found
        service = account.service()
        running = service.up or service.active == "deactivating"
        before = "started\n" if running else "stopped\n"
        if tracker.note(f"engine {self.name}", before, "stopped\n") and not self.module.check_mode:
            done = account.systemctl("stop", decide.UNIT, timeout=180)
            if done.code != 0:
                raise EngineError(f"engine {self.name}: systemctl --user stop failed: {done.errors.strip()}")
        if (
            tracker.note(f"linger of {self.name}", "on\n" if account.lingers else "off\n", "off\n")
            and not self.module.check_mode
        ):
            self.module.run_command(["loginctl", "disable-linger", self.name], check_rc=True)


def write_host_files(module: AnsibleModule, tracker: Tracker) -> bool:
    """The files that all engines share; whether the unit is new."""
    environment = {name: str(value) for name, value in module.params["environment"].items()}
    wanted = {
        decide.DELEGATE_PATH: decide.DELEGATE,
        decide.PROFILE_PATH: decide.PROFILE,
        decide.UNIT_PATH: decide.unit_text(module.params["launcher"], environment),
    }
    new = set()
    for path, text in wanted.items():
        before, after = files.read(path), File(text.encode())
        shown = (before.describe() if before else "", after.describe())
        if tracker.note(path, before, after, show=shown):
            new.add(path)
            if not module.check_mode:
                files.write(path, after)
    # Ask systemd: an earlier run may have been killed before it reloaded systemd.
    command = ["systemctl", "show", "--property=NeedDaemonReload", "--value", "user@*.service"]
    state = "outdated\n" if "yes" in module.run_command(command)[1].split() else "current\n"
    if tracker.note("systemd's settings", state, "current\n") and not module.check_mode:
        module.run_command(["systemctl", "daemon-reload"], check_rc=True)
    install.ensure_link(decide.UNIT_LINK, decide.UNIT_PATH, tracker, module.check_mode)
    return decide.UNIT_PATH in new


def start(module: AnsibleModule, engines: list[Engine], tracker: Tracker, unit_is_new: bool) -> None:
    """Bring up all that must run, at the same time."""
    idle = [engine for engine in engines if not (engine.found and engine.found.lingers)]
    for engine in idle:
        tracker.note(f"linger of {engine.name}", "off\n", "on\n")
    steps = [(engine, engine.step(unit_is_new)) for engine in engines]
    if idle and not module.check_mode:
        module.run_command(["loginctl", "enable-linger", *(engine.name for engine in idle)], check_rc=True)
    for engine, step in steps:
        if step:
            tracker.note(f"engine {engine.name}", "stopped\n" if step == "start" else "started\n", f"{step}ed\n")
            if not module.check_mode:
                engine.begin(step)


def report(module: AnsibleModule, engines: list[Engine]) -> dict[str, Any]:
    """Wait for the engines, and return what they report."""
    running: dict[str, Any] = {}
    failures = []
    for engine in engines:
        if module.check_mode and not (engine.found and engine.found.service().active == "active"):
            continue
        account = engine.account
        try:
            info = engine.wait()
        except EngineError as error:
            failures.append(f"{error}{'' if module.check_mode else engine.restore()}")
            continue
        if old := engine_programs.replaced(account.uid):
            module.warn(f"AN OLD DOCKER RUNS: {programs.advice(engine.name, old)}.")
        running[engine.name] = {
            "uid": account.uid,
            "socket": account.socket,
            "version": info["ServerVersion"],
            "replaced": old,
            "limits_enforced": all(info.get(key) for key in ("MemoryLimit", "CpuCfsQuota", "PidsLimit")),
        }
    if failures:
        module.fail_json(msg="\n".join(failures))
    return running


def main() -> None:
    engine = {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
        "data_root": {"type": "path"},
        "daemon_options": {"type": "dict", "default": {}},
        "disk": {"type": "int", "default": 0},
    }
    module = AnsibleModule(
        argument_spec={
            "engines": {"type": "list", "elements": "dict", "required": True, "options": engine},
            "data_root": {"type": "path", "default": "/srv/docker"},
            "daemon_options": {"type": "dict", "default": {}},
            "launcher": {"type": "path", "required": True},
            "environment": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 90},
        },
        supports_check_mode=True,
    )
    tracker = Tracker()
    try:
        engines = [Engine(module, options) for options in module.params["engines"]]
        started = [engine for engine in engines if engine.started]
        for one in started:
            one.validate()
        unit_is_new = write_host_files(module, tracker)
        for one in engines:
            if one.started:
                one.prepare(tracker)
            else:
                one.stop(tracker)
        start(module, started, tracker, unit_is_new)
        running = report(module, started)
    except (
        EngineError, ValueError, files.UnsafePathError, ForeignProjectError, OSError, EndlessError,
    ) as error:  # fmt: skip
        module.fail_json(msg=str(error))
    module.exit_json(**tracker.result(engines=running))


if __name__ == "__main__":
    main()
