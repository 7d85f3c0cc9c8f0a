# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one lab more takes, beside the two playbooks a person of Carto-Lab Docker. Brings up a host of its own.

The other way is a stand-in of our own (bench/playbooks) with the steps of that project's documentation, one task for
each of its tasks. It differs in what a test host cannot have, mostly to that project's advantage:

- Debian's Docker instead of Docker's own; its setup tool refuses the test host's kernel, so a task writes the unit.
- Answers come from a file instead of prompts, so nobody's typing is counted.
- The compose project is copied instead of cloned over the network.
- The image of the test bed for both, and no container of Telegraf beside it.
- Apache, which the collection has set up already, without TLS, instead of nginx.
- No log-in page is mounted: the one that it makes is empty, and nobody could log in.
- The file with the password is not readable for everyone.

The first lab of the collection installs Docker and Apache for both, so only further labs compare. RIVAL_LABS says how
many each way makes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import requests

from testbed import __main__ as testbed
from testbed import pki
from testbed.client import Lab, LoginError
from testbed.patience import until
from testbed.run import ROOT, Failure, run, step

from .site import inventory, site

HOST, PORT, OTHER_PORT, BEHIND = "carrel-bench-7", 8477, 8478, 9300
LABS = int(os.environ.get("RIVAL_LABS", "3"))
IMAGE = "registry.carrel.test:5000/carrel/lab:carto"
DOMAIN = "carrel.test"  # of the test bed's certificate
PLAYBOOKS = [ROOT / "bench" / "playbooks" / f"carto_{part}.yml" for part in ("account", "lab")]
# What the documentation takes for granted. acl lets Ansible write files as an account that is not root.
PREPARE = f"""
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends acl sudo > /dev/null
a2enmod -q proxy proxy_http proxy_wstunnel
echo 'Listen {OTHER_PORT}' > /etc/apache2/conf-available/carto.conf
a2enconf -q carto
systemctl restart apache2
"""


def wait_for(url: str, verify: str | bool, password: str) -> None:
    """Until a person can log in."""

    def lets_in() -> bool:
        with contextlib.suppress(requests.RequestException, LoginError), Lab(url, verify) as lab:
            lab.login(password)
            return True
        return False

    until(lets_in, f"{url} lets a person in", error=Failure)


def timed(work: Callable[[], object], url: str, verify: str | bool, password: str) -> dict[str, float]:
    """The seconds of the playbooks, and those until a person can log in. The lab must work then."""
    began = time.perf_counter()
    work()
    playbooks = time.perf_counter() - began
    wait_for(url, verify, password)
    logged_in = time.perf_counter() - began
    with Lab(url, verify).login(password) as lab:
        if lab.run("print(6 * 7)").strip() != "42":
            raise Failure(f"{url}: the kernel cannot calculate")
    return {"playbooks_s": playbooks, "log_in_s": logged_in}


class Ours:
    """The whole inventory each time, with one lab more."""

    def __init__(self, folder: Path) -> None:
        self.file, self.labs = folder / "ours.json", list[dict[str, Any]]()

    def one_more(self) -> dict[str, float]:
        number, password = len(self.labs) + 1, secrets.token_hex(12)
        url = f"https://ours{number}.{DOMAIN}:{PORT}/"
        self.labs.append(
            {"name": f"ours{number}", "kind": "lab", "password": password, "image": IMAGE, "url": url,
             "reset": {"at": "01:25"}}
        )  # fmt: skip
        return timed(lambda: site(inventory(self.file, self.labs, HOST)), url, str(pki.CA), password)


class Theirs:
    """Two playbooks for each person."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, 0

    def one_more(self) -> dict[str, float]:
        self.made += 1
        name, password = f"theirs{self.made}", secrets.token_hex(12)
        host, answers = f"{name}.{DOMAIN}", self.folder / f"{name}.json"
        answers.write_text(
            json.dumps({
                "carto_name": name, "carto_password": password, "carto_image": IMAGE, "carto_host": host,
                "carto_listen": OTHER_PORT, "carto_port": BEHIND + self.made,
            })
        )  # fmt: skip
        hosts = inventory(self.folder / "theirs.json", [], HOST)

        def both() -> None:
            for playbook in PLAYBOOKS:
                run(Path(sys.executable).parent / "ansible-playbook", "-i", hosts, playbook, "-e", f"@{answers}")

        return timed(both, f"http://{host}:{OTHER_PORT}/", True, password)


def further(labs: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of all but the first, in which packages were installed."""
    return {figure: round(statistics.median(lab[figure] for lab in labs[1:]), 1) for figure in labs[0]}


def compare(ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]]) -> dict[str, Any]:
    mine, other = further(ours), further(theirs)
    return {
        "labs": len(ours), "each_further": {"this_collection": mine, "two_playbooks_a_person": other},
        "times_the_other": {figure.removesuffix("_s"): round(mine[figure] / other[figure], 2) for figure in mine},
        "goal": "not slower",
    }  # fmt: skip


def measure() -> dict[str, Any]:
    if LABS < 2:
        raise Failure(f"RIVAL_LABS={LABS}: the first labs do not compare; write 2 or more")
    sys.path.insert(0, str(ROOT / "tests" / "integration"))
    from apache_front import names_below

    testbed.up("bench", [f"{HOST}={PORT},{OTHER_PORT}"])
    try:
        with tempfile.TemporaryDirectory() as scratch, names_below(DOMAIN):
            ways: dict[str, Ours | Theirs] = {"ours": Ours(Path(scratch)), "theirs": Theirs(Path(scratch))}
            found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
            order = list(ways)
            for number in range(LABS):
                for way in order:
                    with step(f"lab {number + 1}, {way}"):
                        found[way].append(ways[way].one_more())
                    if not number and way == "ours":
                        run("docker", "exec", HOST, "bash", "-euc", PREPARE)
                if number:  # the first lab of the collection installs Apache for both
                    order.reverse()
            return compare(**found)
    finally:
        testbed.down("bench")
