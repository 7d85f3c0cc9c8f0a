# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: from nothing to running instances, with a table of where they are; `make demo-down` removes them."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import __main__ as testbed
from . import pki
from .client import Lab
from .hub_client import Hub
from .run import ROOT, Failure, step

DEMO = ROOT / ".demo"
INVENTORY = ROOT / "inventories" / "demo" / "hosts.yml"
HOSTS = ("carrel-demo-1=8441", "carrel-demo-2=8442,8443")


def ansible(program: str, *arguments: str | Path, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one of the virtual environment's Ansible commands from the checkout, whose ansible.cfg it reads."""
    executable = Path(sys.executable).parent / program
    return subprocess.run(
        [executable, *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE if capture else None, check=False
    )


def deploy() -> None:
    """Run the site playbook and let its output through."""
    done = ansible("ansible-playbook", "-i", INVENTORY, "playbooks/site.yml")
    if done.returncode:
        raise Failure(
            f"ansible-playbook ended with {done.returncode}; the failed task is above. Run `make demo` again to go on."
        )


def summary() -> list[dict[str, Any]]:
    """Return what a visitor needs of each instance, from the inventory as Ansible sees it."""
    listing = ansible("ansible-inventory", "-i", INVENTORY, "--list", capture=True)
    if listing.returncode:
        raise Failure("ansible-inventory failed")
    rows = []
    for host, variables in json.loads(listing.stdout)["_meta"]["hostvars"].items():
        for instance in variables["jupyter_instances"]:
            for user in instance.get("users", [{"name": ""}]):
                password = (DEMO / "passwords" / instance["name"] / user["name"]).read_text().split()[0]
                rows.append({
                    "name": instance["name"], "kind": instance["kind"], "host": host, "url": instance["url"],
                    "username": user["name"], "password": password, "verify": str(pki.CA),
                })  # fmt: skip
    return rows


def check(rows: list[dict[str, Any]]) -> None:
    """Log in to each instance through its public URL, as each user of a hub, and let a kernel compute."""
    for row in rows:
        with step(f"checking {row['name']} {row['username']}".rstrip()), at_work(row) as lab:
            answer = lab.run("print(6 * 7)")
            if answer.strip() != "42":
                raise Failure(f"{row['url']}: the kernel answered {answer!r} instead of 42")


@contextlib.contextmanager
def at_work(row: dict[str, Any]) -> Iterator[Lab]:
    """Somebody at the JupyterLab of a row; in a hub the server is stopped afterwards."""
    if row["kind"] == "lab":
        with Lab(row["url"], row["verify"]) as lab:
            yield lab.login(row["password"])
        return
    with Hub(row["url"], row["verify"]).login(row["username"], row["password"]) as hub:
        with hub.spawn() as lab:
            yield lab
        hub.stop()


def table(rows: list[dict[str, Any]]) -> str:
    """Return a table for the terminal."""
    columns = ("name", "kind", "host", "url", "username", "password")
    lines = [columns] + [tuple(row[column] or "-" for column in columns) for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def up() -> None:
    """Bring everything up and say where it is."""
    began = time.monotonic()
    DEMO.mkdir(mode=0o700, exist_ok=True)
    testbed.up("demo", list(HOSTS))
    deploy()
    rows = summary()
    check(rows)
    target = DEMO / "summary.json"
    target.write_text(json.dumps(rows, indent=2) + "\n")
    target.chmod(0o600)
    print(f"\n{table(rows)}\n\nThe certificates are signed by {pki.CA}; a browser warns until you trust it.")
    print(
        f"{target.relative_to(ROOT)} has the same. Took {time.monotonic() - began:.0f} s. Remove it all: make demo-down"
    )


def down() -> None:
    """Remove everything that `up` made; built images stay as a cache until `make clean`."""
    testbed.down("demo")
    shutil.rmtree(DEMO, ignore_errors=True)


if __name__ == "__main__":
    try:
        down() if sys.argv[1:] == ["down"] else up()
    except Failure as failure:
        sys.exit(f"\n{failure}")
