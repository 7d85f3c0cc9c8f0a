# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m testbed.failures FILE`: the failed tests of a JUnit report, each with where and why it failed.

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


def failures(report: Path) -> list[str]:
    found = []
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        for problem in (*case.findall("failure"), *case.findall("error")):
            lines = [line for line in (problem.text or "").splitlines() if TELLING.match(line)]
            found.append("\n    ".join([f"{case.get('classname')}::{case.get('name')}", *lines[-LINES:]]))
    return found


if __name__ == "__main__":
    report = Path(sys.argv[1])
    if report.exists():
        print(*failures(report), sep="\n")
