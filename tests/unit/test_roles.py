# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role's defaults/main.yml says what its argument_specs promise, and its names follow the rule."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_plan_action import HERE, run

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else {}


@pytest.mark.parametrize("role", ROLES)
def test_defaults_agree_with_the_contract(role: str) -> None:
    folder = ROOT / "roles" / role
    options = load(folder / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    promised = {name: option["default"] for name, option in options.items() if "default" in option}
    assert load(folder / "defaults" / "main.yml") == promised
    assert all(option.get("required") for name, option in options.items() if name not in promised)


@pytest.mark.parametrize("role", ROLES)
def test_inputs_that_are_text_count_as_what_they_mean(role: str) -> None:
    """INI inventories and -e NAME=false give the text "false", which Jinja takes for true."""
    options = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    files = [path for part in ("tasks", "vars", "templates") for path in (ROOT / "roles" / role / part).rglob("*.*")]
    for name, option in options.items():
        if option["type"] in ("bool", "int"):
            # A colon follows in texts.
            use = rf"(?<!\w){name}(?![\w:])"
            read = rf"\)? \| (map\(')?{option['type']}\b"
            assert any(re.search(use, file.read_text()) for file in files), name
            assert [file for file in files if re.search(rf"{use}(?!{read})", file.read_text())] == [], name


@pytest.mark.parametrize(("text", "units"), [("false", []), ("true", ["docker.service", "docker.socket"])])
def test_the_hosts_own_docker_is_stopped_only_if_wished(tmp_path: Path, text: str, units: list[str]) -> None:
    probe = tmp_path / "probe.yml"
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles" / "rootless_docker" / "vars" / "main.yml")],
        "vars": {"__rootless_docker_host": {"installed": {"dockerd": True, "containerd": True}}},
        "tasks": [{"ansible.builtin.assert": {"that": f"__rootless_docker_rootful_units == {units}"}}],
    }
    probe.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = run(tmp_path, {"h1": HERE}, probe, "-e", f"rootless_docker_disable_rootful={text}")
    assert done.returncode == 0, done.stdout + done.stderr


KEYS = {"aliases", "choices", "default", "description", "elements", "no_log", "options", "required", "type"}


def odd(options: dict[str, Any], above: str) -> Iterator[str]:
    for name, option in options.items():
        yield from (f"{above}.{name}: {key}" for key in option.keys() - KEYS)
        yield from odd(option.get("options", {}), f"{above}.{name}")


@pytest.mark.parametrize("role", ROLES)
def test_options_have_only_keys_that_ansible_knows(role: str) -> None:
    """In braces, what follows a comma in a description becomes a key."""
    specs = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    assert [text for name, entry in specs.items() for text in odd(entry.get("options", {}), name)] == []


@pytest.mark.parametrize(("role", "name"), [("reset", "reset_jobs"), ("backup", "backup_jobs")])
def test_the_contract_has_every_key_of_the_plan(role: str, name: str) -> None:
    options = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    document = (ROOT / "docs" / "contributing" / "architecture.md").read_text()
    block = re.search(r"```yaml\n(plan:\n.*?)```", document, re.DOTALL)
    assert block
    (planned,) = yaml.safe_load(block[1])["plan"][name]
    assert set(options[name]["options"]) == set(planned)


def connecting(tasks: list[Any], given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Tasks that run on the control node, with the variables of what is around them."""
    for task in tasks:
        variables = {**given["vars"], **task.get("vars", {})}
        whole = {"delegate_to": task.get("delegate_to", given.get("delegate_to")), "vars": variables}
        for inner in ("block", "rescue", "always"):
            yield from connecting(task.get(inner, []), whole)
        if whole["delegate_to"] == "localhost" and not task.keys() & {"block", "ansible.builtin.set_fact"}:
            yield {**task, **whole}


def test_nothing_on_the_control_node_needs_root() -> None:
    """An inventory with ansible_become for all hosts means it for localhost, too, and it has priority over `become`."""
    found = []
    for path in sorted((ROOT / "playbooks").rglob("*.yml")):
        for each in load(path):
            plays = [each] if "hosts" in each or "import_playbook" in each else [{"tasks": [each]}]
            for play in plays:
                around = {"vars": play.get("vars", {})}
                found += list(connecting([*play.get("pre_tasks", []), *play.get("tasks", [])], around))
    assert len(found) >= 8
    assert [task["name"] for task in found if task["vars"].get("ansible_become") is not False] == []


@pytest.mark.parametrize("role", ROLES)
def test_inputs_and_internals_carry_the_roles_name(role: str) -> None:
    folder = ROOT / "roles" / role
    assert all(name.startswith(f"{role}_") for name in load(folder / "defaults" / "main.yml"))
    assert all(name.startswith(f"__{role}_") for name in load(folder / "vars" / "main.yml") or {})


# The site playbook includes the role image for each declared image, which no list of tasks shows.
# The role monitoring has a playbook of its own.
@pytest.mark.parametrize("role", [role for role in ROLES if role not in ("image", "monitoring")])
def test_a_roles_tags_select_it_alone_in_the_site_playbook(role: str) -> None:
    tasks = [task for file in (ROOT / "roles" / role / "tasks").glob("*.yml") for task in load(file)]
    tags = {tag for task in tasks for tag in task.get("tags", [])}
    listing = subprocess.run(
        ["ansible-playbook", "-i", "host,", "playbooks/site.yml", "--list-tasks", "--tags", ",".join(tags)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = re.findall(r"^ +carrel\.jupyter\.(\w+) : (?!Validating)", listing, re.MULTILINE)
    # Instances need the names of their declared images.
    assert set(found) == {role, "image"} if role in ("reset", "lab", "hub") else {role}


@pytest.mark.parametrize("role", ROLES)
def test_files_stay_small(role: str) -> None:
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        assert len(path.read_text().splitlines()) <= 80, path


def test_lists_of_tasks_of_playbooks_stay_small() -> None:
    for path in (ROOT / "playbooks" / "tasks").rglob("*.yml"):
        assert len(path.read_text().splitlines()) <= 80, path


def test_backslashes_are_those_that_ansible_takes() -> None:
    """Ansible doubles backslashes in expressions: two before a number are a text and no group of the pattern."""
    files = [*(ROOT / "roles").glob("*/*/*.yml"), *(ROOT / "playbooks").rglob("*.yml")]
    texts = {path: json.dumps(load(path)) for path in files}
    assert [path for path, text in texts.items() if re.search(r"\\{4}[0-9]", text)] == []


def test_every_file_has_its_licence() -> None:
    suffixes = {".py", ".yml", ".yaml", ".toml"}
    folders = ("plugins", "roles", "playbooks", "testbed", "tests", "bench", "molecule", "inventories")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    tracked = [path for path in files if "output" not in path.parts and "__pycache__" not in path.parts]
    line = "SPDX-License-Identifier: GPL-3.0-or-later"
    missing = [str(path) for path in tracked if path.stat().st_size and line not in path.read_text()[:300]]
    assert missing == []


def test_no_mapped_id_is_in_the_code() -> None:
    pattern = re.compile(r"\b(100999|100099)\b")
    files = [path for folder in ("plugins", "roles", "playbooks") for path in (ROOT / folder).rglob("*.[pyj]*")]
    texts = [path for path in files if path.is_file() and "__pycache__" not in path.parts]
    assert [str(path) for path in texts if pattern.search(_without_samples(path.read_text()))] == []


def _without_samples(text: str) -> str:
    """A module's DOCUMENTATION, EXAMPLES and RETURN may show one."""
    return re.sub(r'(?ms)^(DOCUMENTATION|EXAMPLES|RETURN) = r""".*?^"""', "", text)


def test_roots_docker_commands_run_no_plugins_of_accounts() -> None:
    """docker looks for plugins beside its configuration first (docker/cli, cli-plugins/manager)."""
    files = [
        file for role in ROLES for folder in ("tasks", "vars") for file in (ROOT / "roles" / role / folder).glob("*")
    ]
    found = {
        value for file in files for value in re.findall(r"^ +DOCKER_CONFIG: (.*)$", file.read_text(), re.MULTILINE)
    }
    copies = {f"__{role}_login" for role in ("lab", "hub")}
    # copies that belong to root, and a folder of root's for the role image
    assert found == {f'"{{{{ {name}.directory }}}}"' for name in copies} | {'"{{ image_docker_config }}"'}
    registered = {
        task["register"]
        for file in files
        if file.parent.name == "tasks"
        for task in all_tasks(load(file))
        if "carrel.jupyter.docker_login_copy" in task
    }
    assert registered == copies


def all_tasks(tasks: Any) -> Iterator[dict[str, Any]]:
    for task in tasks or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from all_tasks(task.get(part))


def test_a_lab_s_token_is_removed_while_the_record_says_where_it_is() -> None:
    """Otherwise a run that is killed in between would leave it."""
    tasks_of_it = load(ROOT / "roles" / "lab" / "tasks" / "absent.yml")
    token, archive = (
        next(number for number, task in enumerate(tasks_of_it) if text in str(task))
        for text in ("token_file", "carrel.jupyter.instance_archive")
    )
    assert token < archive


@pytest.mark.parametrize("role", ["lab", "hub"])
def test_a_removal_uses_a_directory_only_with_a_record(role: str) -> None:
    """The directory of an absent instance may be somebody else's, with a compose project of its own."""
    using = {"include_role", "include_tasks", "docker_compose_v2", "hub_servers"}
    found = [
        task
        for task in load(ROOT / "roles" / role / "tasks" / "absent.yml")
        if using & {key.split(".")[-1] for key in task}
    ]
    assert len(found) == {"lab": 2, "hub": 4}[role]
    for task in found:
        conditions = task["when"] if isinstance(task["when"], list) else [task["when"]]
        assert conditions[0] == f"__{role}_recorded | length > 0", task["name"]


def test_every_task_that_asks_an_engine_has_a_time_limit() -> None:
    """Its socket is the account's, and may answer in drops; the modules of community.docker wait for each drop anew."""
    asking = []
    for role in ROLES:
        folder = ROOT / "roles" / role
        limits = load(folder / "vars" / "main.yml")
        for file in (folder / "tasks").glob("*.yml"):
            for task in all_tasks(load(file)):
                command = (task.get("ansible.builtin.command") or {}).get("argv") or [""]
                if command[0] == "docker" or any(key.startswith("community.docker.") for key in task):
                    asking.append(task["name"])
                    words = re.findall(r"\w+", str(task.get("timeout")))
                    assert words and words[0] in limits, f"{file}: {task['name']}"
    assert len(asking) > 20, "the tasks are found"


def test_what_the_administrator_adds_is_tried_with_the_same_limits() -> None:
    """A page can compute without end as well as a Python file."""
    tries = []
    for name in ("page", "own"):
        task = load(ROOT / "roles" / "hub" / "tasks" / f"{name}.yml")[0]
        argv = task["ansible.builtin.command"]["argv"]
        tries.append(argv[: argv.index("-m")])
    assert tries[0] == tries[1] and {"--network=none", "--cap-drop=ALL", "--memory=1g", "timeout"} <= set(tries[0])


def tasks(within: Any) -> Iterator[dict[str, Any]]:
    """The tasks of a file, with those in blocks."""
    for task in within or []:
        yield task
        for part in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
            yield from tasks(task.get(part))


FILES = sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/**/*.yml")])


def test_root_asks_engines_only_at_paths_on_which_no_link_is_followed() -> None:
    """The account can put a link to another engine's socket in place of its own. See the module engine_sockets."""
    asking = 0
    for path in FILES:
        assert not re.search(r"unix://|docker\.sock|DOCKER_HOST: [^\"]|DOCKER_HOST: \"[^\"]", path.read_text()), path
        safe = f"{{{{ __{path.parts[-3]}_docker_host }}}}"
        for task in tasks(load(path)):
            for name, arguments in task.items():
                if name.startswith("community.docker."):
                    asking += 1
                    assert arguments.get("docker_host") == safe, (path, task["name"])
            command = task.get("ansible.builtin.command") or {}
            words = command.get("argv", str(command.get("cmd", "")).split()) if isinstance(command, dict) else []
            if words[:1] == ["docker"]:
                asking += 1
                assert words[1] == f"--host={safe}", (path, task["name"])
    assert asking > 30


def test_compose_reads_no_settings_of_its_own_from_the_variables_of_containers() -> None:
    for role in ("lab", "hub"):
        (guarded,) = load(ROOT / "roles" / role / "tasks" / "guarded.yml")
        wanted = {"project_name": f"{{{{ __{role}_instance.name }}}}", "env_files": ["/dev/null"]}
        for path in FILES:
            if path.parts[-3] == role:
                for task in tasks(load(path)):
                    for name in task.keys() & {f"community.docker.docker_compose_v2{e}" for e in ("", "_exec", "_run")}:
                        assert guarded["module_defaults"][name] == wanted, (path, name)
                        smoke = task[name]["project_src"].endswith("/smoke")
                        # Otherwise the end of a trial would remove the hub itself.
                        own = "{{ __hub_instance.name }}_smoke" if smoke else None
                        assert task[name].get("project_name") == own, (path, task["name"])
