# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout over one real host that has three names, one of them lost in the middle; more in test_rollout.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import hosts, ssh
from testbed.run import run

from .conftest import Play, Site, ansible_playbook, answers, hostvars
from .resets import push

SITE = "playbooks/site.yml"
DONE = r"\b{} : ok=\d+ changed=\d+ unreachable=0 failed=0"
BROKEN = f"{hosts.REGISTRY_NAME}/carrel/lab:broken"
BREAK = "import wave; open(wave.__file__, 'w').write('raise ImportError(chr(108) + chr(105) + chr(98))')"
CELLS = ["x = '{{ no_such_variable }} {% raw'", "import wave"]
NOTEBOOK = {
    "cells": [{"cell_type": "code", "metadata": {}, "outputs": [], "source": source} for source in CELLS],
    "metadata": {}, "nbformat": 4, "nbformat_minor": 4,
}  # fmt: skip


@pytest.fixture
def canary(tao: Site, play: Play) -> Iterator[Site]:
    yield tao
    assert play(tao.host).code == 0  # without smoke notebooks, as the other tests have it
    run("docker", "image", "rm", "--force", BROKEN)
    tao.docker("image", "rm", "--force", BROKEN, check=False)


def test_a_bad_image_stops_at_the_canary_and_a_lost_host_stops_nobody(tao: Site, canary: Site, tmp_path: Path) -> None:
    (tmp_path / "check.ipynb").write_text(json.dumps(NOTEBOOK))
    push("broken", f'RUN /opt/conda/envs/jupyter_env/bin/python -c "{BREAK}"')
    original = hostvars()[tao.host]
    before = tao.started(tao.container_name())
    # The fourth call is one of those that set up the engines.
    lost = ssh.breaks(f"docker exec --interactive {tao.host} sh -c", 4, tmp_path)

    def fleet(gone: dict[str, Any], canaries: list[str], **keys: Any) -> dict[str, Any]:
        rollout = {"canaries": canaries, "batch": 2, "max_failures": "50%"}
        mine = [{**entry, **keys} if entry["name"] == tao.name else entry for entry in original["jupyter_instances"]]
        changed = {**original, "jupyter_rollout": rollout, "jupyter_instances": mine}
        return {"gone": {**changed, **gone}, "last": {**changed, "ansible_host": tao.host}, tao.host: changed}

    smoke = {"smoke": ["check.ipynb"]}
    broken = {**smoke, "image": BROKEN}
    stopped = ansible_playbook(tmp_path, fleet(lost, [tao.host], **broken), SITE)
    said = " ".join(stopped.output.split())
    assert stopped.code and "a smoke notebook failed: check.ipynb, cell 2: ImportError: lib" in said
    assert f"{tao.host} failed, 1 of 1 hosts in this batch." in said and "the rollout stops, 2 hosts stay" in said
    assert f"--limit {tao.host},gone,last" in said.partition("the rollout stops")[2]
    assert said.count("PLAY [Set up the instances]") == 1
    assert tao.started(tao.container_name()) == before and answers(tao)

    corrected = ansible_playbook(tmp_path, fleet(lost, [tao.host, "gone"], **smoke), SITE)
    said = " ".join(corrected.output.split())
    assert re.search(r"TASK \[carrel.jupyter.rootless_docker : (?:(?!TASK).)*fatal: \[gone\]: UNREACHABLE!", said)
    assert corrected.code and "gone failed, 1 of 2 hosts in this batch." in said
    assert re.search(DONE.format(re.escape(tao.host)), said), "the host beside the lost one is done"
    assert re.search(DONE.format("last"), said), "the batch after it is done"
    again = re.search(r"For the failed hosts after the canaries: (--limit) (\S+?)['\"]?(?= |$)", said)
    assert again and again[2] == f"{tao.host},gone"
    assert tao.started(tao.container_name()) == before

    finished = ansible_playbook(tmp_path, fleet({"ansible_host": tao.host}, ["gone"]), SITE, again[1], again[2])
    assert finished.code == 0 and answers(tao)
    assert re.search(DONE.format("gone"), " ".join(finished.output.split()))
