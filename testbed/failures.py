# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m testbed.failures FILE`: the failed tests of a JUnit report, each with where and why it failed.

Of what a test printed, the tasks that changed something or failed, and what the browser complained of.

After molecule, which removes the hosts once the tests have failed, the end of the output would not name them.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree
from pathlib import Path

# of pytest's long tracebacks: the statement of each frame, what was raised, and the line of each frame
TELLING = re.compile(r"[>E] |\S+:\d+: ")
LINES = 16
# of Ansible's output and the browser's (test_browser.py)
PRINTED = re.compile(r"(changed|fatal|failed|console): |[45]\d\d http")
PRINTED_LINES = 40


def failures(report: Path) -> list[str]:
    found = []
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        for problem in (*case.findall("failure"), *case.findall("error")):
            lines = [line for line in (problem.text or "").splitlines() if TELLING.match(line)]
            output = printed(case.findtext("system-out", ""))
            found.append("\n    ".join([f"{case.get('classname')}::{case.get('name')}", *lines[-LINES:], *output]))
    return found


def printed(output: str) -> list[str]:
    found, task = [], ""
    for line in output.splitlines():
        if line.startswith("TASK "):
            task = line.strip("* ")
        elif PRINTED.match(line):
            found += [task, line[:300]] if task else [line[:300]]
            task = ""
    return found[-PRINTED_LINES:]


if __name__ == "__main__":
    report = Path(sys.argv[1])
    if report.exists():
        print(*failures(report), sep="\n")
