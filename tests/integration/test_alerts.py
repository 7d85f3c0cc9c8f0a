# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alert rules, run over made-up series by Prometheus' own promtool."""

from __future__ import annotations

import shutil
from pathlib import Path

from testbed import images
from testbed.run import ROOT, run

RULES = ROOT / "roles/monitoring/files/prometheus/carrel-alerts.yml"
CASES = ROOT / "tests/unit/data/prometheus/alerts_test.yml"


def test_the_rules_fire_as_their_cases_say(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for file in (RULES, CASES):
        shutil.copy(file, tmp_path)
    image = images.build("prometheus", parent=images.base())
    run(
        "docker", "run", "--rm", "--volume", f"{tmp_path}:/config:ro", "--workdir", "/config", image,
        "promtool", "test", "rules", CASES.name,
    )  # fmt: skip
