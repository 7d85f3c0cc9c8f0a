# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages in docs/: examples that the plan takes, and commands, tags and variables that are there."""

from __future__ import annotations

import re
import textwrap
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.carrel.jupyter.plugins.module_utils._images import kernels
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_keys import HUB
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.hub_values import MOUNT
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.keys import LAB
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.limits import LIMITS
from plan_helpers import hub, lab, plan
from plan_smoke_cases import notebook

ROOT = Path(__file__).resolve().parents[2]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]}
COMMANDS = {
    name: re.findall(r"(?<!collections\.)carrel\.jupyter\.([a-z]\w*)(.*)", text) for name, text in PAGES.items()
}
PLAYBOOKS = {path.stem: path.read_text() for path in (ROOT / "playbooks").glob("*.yml")}
INPUTS = ("jupyter_instances", "jupyter_defaults", "jupyter_images", "jupyter_tls")
ROSTER = "name,groups,admin,memory\nada@uni.example,statistics;geography,,8G\nprof@uni.example,,yes,\n"
HUB_ALONE = HUB.keys() - LAB.keys()
FILES = {
    **{f"/inventory/files/rosters/{name}.csv": ROSTER for name in ("class101", "a", "b")},
    **{f"/inventory/files/notebooks/{name}.ipynb": notebook("1") for name in ("check", "maps")},
}
# On no host: in a message alone, and in containers of the Kubernetes chart.
ELSEWHERE = {"/etc/apparmor.d/rootlesskit", "/usr/local/share/carrel/templates"}


class Loader(yaml.SafeLoader):
    """Takes Ansible's tag for text that is no template."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def variables(text: str) -> dict[str, Any] | None:
    """What a host has after an example; None for one that is about something else."""
    found = yaml.load(textwrap.dedent(text), Loader)
    if isinstance(found, dict) and "all" in found:
        hosts = list(found["all"]["hosts"].values())
        return {**found["all"].get("vars", {}), **(hosts[0] or {})}
    if not isinstance(found, dict) or not text.startswith(" "):
        return found if isinstance(found, dict) else None
    if set(INPUTS) & set(found):
        return found
    # keys of one instance
    return {"jupyter_instances": [hub(**found) if HUB_ALONE & found.keys() else lab(**found)]}


EXAMPLES = {
    f"{name}:{text.count(chr(10), 0, match.start()) + 2}": match[1]
    for name, text in PAGES.items()
    if name.split("/")[1:2] in (["tutorial"], ["howto"])
    for match in re.finditer(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
}
PLANNED = {place: found for place, text in EXAMPLES.items() if (found := variables(text)) and set(INPUTS) & set(found)}


@pytest.mark.parametrize("place", PLANNED)
def test_the_plan_takes_an_example_as_it_is(place: str) -> None:
    found = PLANNED[place]
    rendered = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "a secret of more than sixteen characters", yaml.safe_dump(found)))
    instances = rendered.get("jupyter_instances", [lab()])
    for instance in instances:
        if not {"image", "images", "build"} & set(instance):
            instance["image"] = "registry.example.org/lab:1.0"
    result, problems = plan(
        instances,
        defaults=rendered.get("jupyter_defaults"),
        images=rendered.get("jupyter_images", [{"name": "course"}]),
        tls=rendered.get("jupyter_tls", "selfsigned"),
        backup=rendered.get("jupyter_backup"),
        files=FILES,
    )
    assert not problems and result


def test_examples_are_found() -> None:
    assert len(PLANNED) >= 12


@pytest.mark.parametrize("page", COMMANDS)
def test_commands_name_playbooks_and_tags_that_are_there(page: str) -> None:
    tags = {
        tag
        for file in [*(ROOT / "roles").glob("*/tasks/*.yml"), ROOT / "playbooks" / "site.yml"]
        for found in re.findall(r"tags: (?:&\w+ )?\[(.*?)\]", file.read_text())
        for tag in found.split(", ")
    }
    for name, rest in COMMANDS[page]:
        there = name in PLAYBOOKS or any(
            (ROOT / place).exists() for place in (f"plugins/modules/{name}.py", f"roles/{name}")
        )
        assert there or (ROOT / "plugins" / "filter" / f"{name}.py").exists(), name
        for given in re.findall(r"--tags (\S+)", rest):
            assert set(given.strip("`").split(",")) <= tags
        for variable in re.findall(r"-e (\w+)=", rest):
            assert name in PLAYBOOKS and variable in PLAYBOOKS[name], f"{name} does not read {variable}"


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_the_reference_has_every_variable_of_a_playbook(playbook: str) -> None:
    page = PAGES["docs/reference/playbooks.md"]
    section = page.split(f"\n## {playbook}\n")[1].split("\n## ")[0]
    described = re.findall(r"^# (jupyter_\w+):", PLAYBOOKS[playbook], re.MULTILINE)
    assert all(f"`{name}`" in section for name in described if name != "jupyter_hosts")
    assert "jupyter_hosts" in page.split("\n## ")[0]


def test_the_reference_has_every_tag() -> None:
    page = PAGES["docs/reference/playbooks.md"]
    for file in (ROOT / "roles").glob("*/tasks/*.yml"):
        for found in re.findall(r"tags: \[(.*?)\]", file.read_text()):
            assert all(tag == "always" or f"`{tag}`" in page for tag in found.split(", ")), file


def test_the_page_about_people_lists_every_limit_and_key_of_a_mount() -> None:
    """test_roster.py has the columns of rosters."""
    page = PAGES["docs/reference/hub-inventory.md"]
    sections = {part.partition("\n")[0]: part for part in page.split("\n## ")}
    for title, names in (("Groups", MOUNT), ("Limits", LIMITS)):
        assert [name for name in names if f"`{name}`" not in sections[title]] == []


@pytest.mark.parametrize("page", PAGES)
def test_files_beside_the_inventory_are_in_its_folder_files(page: str) -> None:
    """With -i FOLDER, Ansible reads the others as inventories."""
    keys = "users_csv|smoke|extra_config|template|folder|context|build"
    paths = [
        path for listed in re.findall(rf"\b(?:{keys}): \[?([\w./, -]+)", PAGES[page]) for path in listed.split(", ")
    ]
    assert [path for path in paths if "/" in path and not path.startswith(("files/", "/"))] == []


def test_the_page_about_uninstalling_has_every_path_that_is_written() -> None:
    page = PAGES["docs/howto/uninstall.md"]
    removed = re.findall(r"/[\w.@/*-]+[\w*]", page)
    sources = [*ROOT.glob("roles/*/[tvd]*/*.yml"), *(ROOT / "plugins" / "module_utils").rglob("*.py")]
    written = set(re.findall(r"^/(?:etc|usr|var)/[^\s{]*", PAGES["docs/reference/files.md"], re.MULTILINE))
    for source in sources:
        text = source.read_text()
        written.update(re.findall(r"^\s*(?:- )?(?:dest|path): (/(?:etc|usr|var)/[^\s{]+)", text, re.MULTILINE))
        named = re.findall(r"/(?:etc|usr/local|var/lib|root)/[\w.@/-]*", text)
        written.update(path for path in named if re.search(r"carrel|docker|rootless|delegate|prometheus", path))
    assert len(written) > 40
    # What begins with carrel- is a file of that name and more.
    names = {path.rstrip("/.") + "NAME" * path.endswith("-") for path in written} - ELSEWHERE

    def gone(name: str) -> bool:
        return any(
            fnmatch(name, path) or name.startswith(f"{path}/") or path.startswith(f"{name}/") for path in removed
        )

    assert [name for name in names if not gone(name)] == []
    units = yaml.safe_load((ROOT / "roles" / "monitoring" / "vars" / "main.yml").read_text())["__monitoring_units"]
    timers = [name for unit in units if (name := unit["path"].rpartition("/")[2]).endswith(".timer")]
    assert timers and all(name in page for name in timers)


def test_the_kernel_on_the_page_is_one() -> None:
    (example,) = re.findall(
        r"^```yaml\n(image_kernels:\n.*?)^```", PAGES["docs/howto/kernels.md"], re.DOTALL | re.MULTILINE
    )
    declared = yaml.safe_load(example)["image_kernels"]
    assert [kernels.read(name, kernel).name for name, kernel in declared.items()] == ["scheme"]
