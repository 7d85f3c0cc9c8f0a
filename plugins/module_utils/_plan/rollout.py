# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide the order and the batches in which site.yml sets up hosts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._plan import types
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.key import Key, Type, filled, mapping_of
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.nearest import nearest
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.problems import Problems, kind_of, show
from ansible_collections.carrel.jupyter.plugins.module_utils._plan.schema import INVALID, Invalid

_BATCH = "a number of hosts from 1, or a share of them from 1% to 100%"
_FAILURES = "a share of a batch from 0% to 100%"


def _share(lowest: int, wanted: str, number: bool) -> Any:
    def read(value: Any, path: str, problems: Problems) -> str | int | Invalid:
        if number and isinstance(value, int) and not isinstance(value, bool) and value >= lowest:
            return value
        if isinstance(value, str):
            found = re.fullmatch(r"([0-9]{1,3})%", value)
            if found and lowest <= int(found[1]) <= 100:
                return str(value)
        if value is not INVALID:
            problems.add(path, "rollout_share", got=show(value) if isinstance(value, (str, int)) else kind_of(value),
                         wanted=wanted)  # fmt: skip
        return INVALID

    return read


KEYS: dict[str, Key] = {
    "canaries": Key(
        types.listing(types.text("a host or a group"), "a list of hosts or groups", "a list", "host1"),
        "Hosts or groups that go first, as a batch of their own.",
        example=["lab1.example.org"],
        default=[],
    ),
    "batch": Key(
        Type(_share(1, _BATCH, True), _BATCH, 0, "raw"),
        "How many of the other hosts are set up at once.",
        example="30%",
        default="100%",
    ),
    "pause_seconds": Key(
        types.whole(0, 86400), "How long to wait between batches, for people to notice.", example=60, default=0
    ),
    "max_failures": Key(
        Type(_share(0, _FAILURES, False), _FAILURES, 10),
        "If more of a batch fails, the batches after it stay as they are.",
        example="10%",
        default="0%",
    ),
}
_read = mapping_of(KEYS)
_NOBODY = ["!all"]
_AGAIN = "Correct what is reported and run the same command again: hosts that are done change nothing."


def _rollout(value: Any, path: str, problems: Problems) -> dict[str, Any] | Invalid:
    parts = _read(value, path, problems)
    return INVALID if parts is INVALID or INVALID in parts.values() else filled(KEYS, parts)


ROLLOUT = Key(
    Type(_rollout, "a mapping", [], "dict", keys=KEYS),
    "Batches in which the playbook site sets up the hosts; the same for all hosts.",
    example={"canaries": ["lab1.example.org"], "batch": "30%", "pause_seconds": 60, "max_failures": "10%"},
    unset="all hosts at once",
)


class Rollout(NamedTuple):
    """The values for the plays of site.yml. Ansible takes an empty list of hosts for all of them."""

    hosts: list[str]
    access: list[str]
    serial: list[str | int]
    max_fail_percentage: int
    pause_seconds: int
    canaries: list[str] | None  # those in this run; None if none are declared


def decide(plans: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[str]]) -> Rollout:
    """Decide the batches, and who gets access to hubs before them.

    PLANS is by host in the inventory's order, without hosts that declare no instances; GROUPS are the inventory's.
    Raises ValueError.
    """
    hosts = list(plans)
    wanted = next((plan["rollout"] for plan in plans.values()), None)
    for host, plan in plans.items():
        if plan["rollout"] != wanted:
            raise ValueError(f"jupyter_rollout is another for {host} than for {hosts[0]}; write it in group_vars/all")
    if wanted is None:
        return Rollout(hosts or _NOBODY, _NOBODY, [0], 100, 0, None)
    known = {*groups, *(host for members in groups.values() for host in members)}
    canaries: set[str] = set()
    for name in wanted["canaries"]:
        if name not in known:
            near = nearest(name, known)
            hint = f"; did you mean {near}?" if near else ""
            raise ValueError(f"jupyter_rollout.canaries: the inventory has no host and no group {show(name)}{hint}")
        canaries.update(groups.get(name, [name]))
    if wanted["canaries"] and not canaries:
        raise ValueError(f"jupyter_rollout.canaries: {', '.join(wanted['canaries'])} has no hosts")
    first = [host for host in hosts if host in canaries]
    others = [host for host in hosts if host not in canaries]
    batch = wanted["batch"]
    if isinstance(batch, str):
        batch = max(1, len(others) * int(batch.rstrip("%")) // 100)
    serial = [*([len(first)] if first else []), *([batch] if others else [])]
    later = [host for host in (first + others)[serial[0] :] if plans[host]["hub_instances"]]
    max_failures = int(wanted["max_failures"].rstrip("%"))
    declared = first if wanted["canaries"] else None
    return Rollout(first + others, later or _NOBODY, serial, max_failures, wanted["pause_seconds"], declared)


def begin(rollout: Mapping[str, Any], host: str, failed: Sequence[str], builders: Mapping[str, str]) -> str:
    """Return the message before the batch of HOST. FAILED are hosts of the batches before; BUILDERS as in `outcome`.

    If no host of a batch is left, Ansible ends before any further task, on localhost too. So this says how to go on.
    """
    batches = _batches(rollout)
    batch, after = _batch(rollout, host)
    none = "None of the canaries is in this run. " if rollout["canaries"] == [] and batch == batches[0] else ""
    return (
        f"Batch {batches.index(batch) + 1} of {len(batches)}: {', '.join(batch)}. {none}"
        f"If the run ends without saying how to go on: {_AGAIN} {_rest(rollout, [*failed, *batch, *after], builders)}"
    )


def outcome(
    rollout: Mapping[str, Any],
    host: str,
    failed: Sequence[str],
    builders: Mapping[str, str],
    access: Mapping[str, bool | str],
) -> str:
    """Return the message after the batch of HOST, or an empty text if no host of the batch is in FAILED.

    FAILED are hosts of this batch and of those before. BUILDERS has, by host, the one that builds images for it, or an
    empty text: without that, it has no images to pull. ACCESS says, by host, whether access to its hubs was updated
    before the batches, or is an empty text if this run updates none.
    Ansible's own max_fail_percentage does not count hosts that cannot be reached.
    """
    batch, after = _batch(rollout, host)
    bad = [name for name in batch if name in failed]
    if not bad:
        return ""
    text = f"{', '.join(bad)} failed, {len(bad)} of {len(batch)} hosts in this batch."
    if not stops(rollout, host, failed):
        return f"{text} {_AGAIN} {_rest(rollout, failed, builders, 'the failed hosts')}"
    extent = "the whole batch" if len(bad) == len(batch) else f"more than {rollout['max_fail_percentage']}%"
    return (
        f"{text} That is {extent}: the rollout stops, {_untouched(after, access)}. {_AGAIN} "
        f"{_rest(rollout, [*failed, *after], builders)}"
    )


def _rest(rollout: Mapping[str, Any], hosts: Sequence[str], builders: Mapping[str, str], whom: str = "the rest") -> str:
    """Return how to go on with these hosts alone. The correction may be one for all, so the canaries try it first."""
    canaries = [host for host in rollout["canaries"] or [] if host not in hosts]
    after = " after the canaries" if canaries else " alone"
    builds = [builder for host in hosts if (builder := builders.get(host))]
    return f"For {whom}{after}: --limit {','.join(dict.fromkeys([*canaries, *hosts, *builds]))}"


def _untouched(hosts: Sequence[str], access: Mapping[str, bool | str]) -> str:
    text = "1 host stays as it is" if len(hosts) == 1 else f"{len(hosts)} hosts stay as they are"
    if any(access.get(name, "") != "" for name in hosts):
        text += ", except for access to hubs"
    missed = [name for name in hosts if access.get(name) is False]
    return text + (f", which could not be updated on {', '.join(missed)}" if missed else "")


def stops(rollout: Mapping[str, Any], host: str, failed: Sequence[str]) -> bool:
    """Ansible itself stops when all hosts of a batch failed, whatever the limit."""
    batch, after = _batch(rollout, host)
    bad = sum(name in failed for name in batch)
    return 100 * bad > int(rollout["max_fail_percentage"]) * len(batch) or (bool(after) and bad == len(batch))


def _batch(rollout: Mapping[str, Any], host: str) -> tuple[list[str], list[str]]:
    """Return the batch with a host, and all hosts after this batch."""
    batches = _batches(rollout)
    number = next(number for number, batch in enumerate(batches) if host in batch)
    return batches[number], [name for batch in batches[number + 1 :] for name in batch]


def _batches(rollout: Mapping[str, Any]) -> list[list[str]]:
    """Split the hosts as Ansible does by `serial`."""
    left, sizes = list(rollout["hosts"]), list(rollout["serial"])
    batches = []
    while left:
        size = int(sizes[0]) or len(left)
        batches.append(left[:size])
        left, sizes = left[size:], sizes[1:] or sizes
    return batches
