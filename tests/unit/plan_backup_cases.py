# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of test_plan_problems.py about backups."""

from __future__ import annotations

from typing import Any

from plan_helpers import CLASS, TAO, at_hub, here, two

GOOD = {"repository": "/srv/backup", "password": "a secret"}

BACKUP_CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("missing", f"{TAO}.backup.repository", "where the repositories are", here(backup={"password": "a secret"})),
    ("missing", f"{TAO}.backup.password", "from a vault", here(backup={"repository": "/srv/backup"})),
    (
        "repository",
        f"{TAO}.backup.repository",
        "'backup.example.org' is not a place",
        here(backup={**GOOD, "repository": "backup.example.org"}),
    ),
    (
        "repository_password",
        f"{TAO}.backup.repository",
        "RESTIC_REST_PASSWORD in environment",
        here(backup={**GOOD, "repository": "rest:https://me:SECRET@backup.example.org/"}),
    ),
    *(
        ("repository_place", f"{TAO}.backup.repository", said, here(backup={**GOOD, "repository": place}))
        for place, said in (
            ("/srv/tao/backup", "/srv/tao/backup/tao can't be the repository: it holds an instance"),
            ("/srv", "/srv/tao can't be"),
            ("//srv/x/../tao/data/", "/srv/tao/data/tao can't be"),
            ("/srv/.archive", "it holds removed instances"),
            ("/srv/docker/tao", "engines write there"),
        )
    ),
    (
        "repository_place",
        f"{TAO}.backup.repository",
        "it holds an instance",
        {"instances": two({"backup": {**GOOD, "repository": "/srv/geo/data"}}, {})},
    ),
    ("time", f"{TAO}.backup.at", '"01:25"', here(backup={**GOOD, "at": "daily"})),
    ("range", f"{TAO}.backup.keep.daily", "to 1000", here(backup={**GOOD, "keep": {"daily": -1}})),
    (
        "unknown_key",
        f"{TAO}.backup.repositry",
        "did you mean 'repository'?",
        here(backup={"repositry": "/srv/backup", "password": "a secret"}),
    ),
    ("backup_volumes", f"{CLASS}.backup", "named volumes", at_hub(backend="volumes", backup=GOOD)),
]
