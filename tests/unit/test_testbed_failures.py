# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What CI's log says of a failed test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from testbed.failures import failures

TESTS = """
def test_that_fails():
    print("TASK [hub : Look] ****\\nok: [one]\\nTASK [hub : Start the hub] ****\\nchanged: [one]\\n503 https://localhost/")
    value = 6 * 7
    assert value == 41

def test_that_passes():
    print("changed: [two]")
"""


def test_a_failure_says_where_why_and_what_changed(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    report = tmp_path / "report.xml"
    options = ["-p", "no:cacheprovider", "-o", "junit_logging=out-err", f"--junitxml={report}"]
    subprocess.run([sys.executable, "-m", "pytest", *options, tmp_path], cwd=tmp_path, check=False, capture_output=True)
    (said,) = failures(report)
    lines = [line.strip() for line in said.splitlines()]
    assert lines[0] == "test_it::test_that_fails"
    assert "E       assert 42 == 41" in lines
    assert lines[-3:] == ["TASK [hub : Start the hub]", "changed: [one]", "503 https://localhost/"]
    assert "two" not in said
