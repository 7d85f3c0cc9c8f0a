# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`, as the README has it: twice, then `make demo-down`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from testbed.demo import at_work

ROOT = Path(__file__).resolve().parents[2]


def make(target: str) -> str:
    done = subprocess.run(
        ["make", target], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def containers() -> list[str]:
    listing = ["docker", "ps", "--all", "--filter", "label=carrel.testbed=demo", "--format", "{{.Names}}"]
    return subprocess.run(listing, text=True, capture_output=True, check=False).stdout.split()


def test_demo_twice_and_down() -> None:
    try:
        first = make("demo")
        rows = json.loads((ROOT / ".demo" / "summary.json").read_text())
        people = [(row["name"], row["kind"], row["username"]) for row in rows]
        assert people == [(name, "lab", "") for name in ("tao", "atlas", "geo")] + [
            ("class", "hub", name) for name in ("prof", "ada", "grace", "alan")
        ]
        for row in rows:
            assert set(row) == {"name", "kind", "host", "url", "username", "password", "verify"}
            assert row["url"] in first and row["password"] in first
            with at_work(row) as lab:
                assert lab.run("print(6 * 7)").strip() == "42"
        second = make("demo")
        recaps = [line for line in second.splitlines() if "unreachable=" in line]
        assert len(recaps) == 2 and all("changed=0" in line and "failed=0" in line for line in recaps)
        assert json.loads((ROOT / ".demo" / "summary.json").read_text()) == rows
    finally:
        make("demo-down")
    assert containers() == []
    assert not (ROOT / ".demo").exists()
