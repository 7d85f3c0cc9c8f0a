# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What README, tutorial and docs/howto/proxies.md tell people to copy: in an empty folder, and without a host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
# Nothing listens on port 1: the plan does without what is on the host.
AWAY = ["-e", "ansible_connection=ssh", "-e", "ansible_host=127.0.0.1", "-e", "ansible_port=1"]
FILES = re.findall(r"```yaml\n# (\S+\.yml)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def planned(folder: Path) -> str:
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", folder / "hosts.yml", ROOT / "playbooks" / "plan.yml", *AWAY],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial/lab.md"])
def test_the_collection_is_installed_as_copied(page: str, tmp_path: Path) -> None:
    """With an empty home, in the folder in which `make demo` was run: its ansible.cfg finds the checkout itself.
    Only what needs a network is another: no Ansible, no community.docker, and this repository under the address.
    """
    text = (ROOT / page).read_text()
    (install,) = re.findall(r"```\n([^`]*ansible-galaxy collection install [^`]*)```", text)
    (clone,) = re.findall(r"^git clone (?:.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    link = ".cache/collections/ansible_collections/carrel"
    lines = [
        "set -e",
        clone,
        f"mkdir -p {link}; ln -s $PWD {link}/jupyter",
        *(line for line in install.splitlines() if "ansible/bin" not in line and not re.match("pip|python3", line)),
        "ansible-playbook -i localhost, carrel.jupyter.plan --list-tasks",
    ]
    script = "\n".join(lines).replace("collection install", "collection install --no-deps")
    address = f'[url "file://{ROOT}"]\n insteadOf = https://github.com/carrel/jupyter\n[safe]\n directory = *\n'
    (tmp_path / ".gitconfig").write_text(address)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={"HOME": str(tmp_path), "PATH": path, "LC_ALL": "C.UTF-8"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"playbook: {tmp_path}/.ansible/collections/" in done.stdout


def test_the_first_lab_works_as_copied(tmp_path: Path) -> None:
    """tests/demo runs it on a host."""
    ((name, text),) = FILES
    (tmp_path / name).write_text(text)
    assert "tao" in planned(tmp_path)


def test_the_readme_is_one_screen_and_a_half() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def test_variables_for_proxies_and_mirrors_are_inputs_of_the_roles() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "howto" / "proxies.md").read_text(), re.DOTALL)
    inputs = set()
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        inputs |= set(yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"])
    assert set(yaml.safe_load(example)) <= inputs


def test_what_pages_link_to_is_there() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "roles").glob("*/README.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
