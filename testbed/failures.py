# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m testbed.failures FILE`: the failed tests of a JUnit report, each with the end of its message.

After molecule, which removes the hosts once the tests have failed, the end of the output would not name them.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree
from pathlib import Path

LINES = 6


def failures(report: Path) -> list[str]:
    found = []
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        for problem in (*case.findall("failure"), *case.findall("error")):
            lines = problem.get("message", "").splitlines()[:LINES]
            found.append("\n    ".join([f"{case.get('classname')}::{case.get('name')}", *lines]))
    return found


if __name__ == "__main__":
    report = Path(sys.argv[1])
    if report.exists():
        print(*failures(report), sep="\n")
