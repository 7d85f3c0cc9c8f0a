# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook plan says what was done by hand, and touches nothing."""

from __future__ import annotations

from typing import Any

from testbed.patience import until

from .conftest import Play, Playbook, Site, answers, run_on

HOST = "carrel-test-1"
PLAN = "playbooks/plan.yml"


def said(run: Playbook) -> str:
    """What it printed, on one line."""
    assert run.code == 0
    return " ".join(run.output.split())


def test_changes_by_hand_are_reported_and_not_touched(play: Play, atlas: Site) -> None:
    environment, container = "/srv/atlas/.env", atlas.container_name()
    try:
        run_on(HOST, "chmod", "0644", environment)
        atlas.docker("stop", "--time=1", container)
        atlas.docker("run", "--detach", "--name=stranger", "--entrypoint=sleep", atlas.declared["image"], "600")
        text = said(play(HOST, playbook=PLAN))
        assert "tao: as declared" in text
        assert f"{environment} has mode 0644 instead of 0640" in text and "atlas: it is stopped" in text
        assert "containers that belong to no instance: stranger" in text
        assert "644" in run_on(HOST, "stat", "--format=%a", environment)
    finally:
        atlas.docker("rm", "--force", "stranger", check=False)
        run_on(HOST, "chmod", "0640", environment)
        atlas.docker("start", container)
        until(lambda: answers(atlas), "atlas answers again")


def test_a_container_that_was_changed_by_hand_is_recreated(play: Play, atlas: Site) -> None:
    """Compose does not see it: the container still has the label of its declaration."""
    before = atlas.container_name()
    atlas.docker("network", "create", "joined")
    try:
        atlas.docker("network", "connect", "joined", before)
        assert "changed by hand: networks" in said(play(HOST, playbook=PLAN))
        assert play(HOST).code == 0
        run = play(HOST, playbook=PLAN)
        assert "tao: as declared" in said(run) and "atlas: as declared" in said(run)
        assert run.changed == 0
    finally:
        atlas.docker("network", "disconnect", "--force", "joined", before, check=False)
        atlas.docker("network", "rm", "joined")


def test_a_changed_declaration_is_shown_as_a_diff_without_secrets_and_who_left_is_reported(play: Play) -> None:
    def change(instances: list[dict[str, Any]]) -> None:
        instances[0].update(environment={"NEW": "xq7SECRET"})
        instances.pop()

    run = play(HOST, change, "--diff", playbook=PLAN)
    text = said(run)
    assert "the container was made from another declaration; environment NEW" in text
    assert "--- before: /srv/tao/compose.yaml" in text and "xq7SECRET" not in run.output
    assert "atlas: on the host, but not in the inventory" in text
