# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what a host knows about its instances in Prometheus' text format.

Values have base units and no timestamps: https://prometheus.io/docs/instrumenting/writing_exporters/
An instance's label is `name`, because Prometheus uses `instance` for the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ansible_collections.carrel.jupyter.plugins.module_utils._report.status import ERROR, RESULTS, WARNING
from ansible_collections.carrel.jupyter.plugins.module_utils._shared.times import parse_time

Instance = Mapping[str, Any]
OUTCOMES = (*RESULTS, "interrupted")
# results of backups and drills; see carrel_backup/state.py
ENDS = ("running", "done", "incomplete", "failed", "interrupted")

COLLECTED = "carrel_collection_success"
COLLECTIONS = {COLLECTED: "Whether the last collection of these metrics succeeded. If not, it is the only one of them."}
HEALTH = {
    "carrel_instance_info": "Always 1; kind, state, engine and URL of an instance.",
    "carrel_instance_up": "Whether an instance that should be there answers through its public URL.",
    "carrel_instance_answer_seconds": "How long the public URL took to answer.",
    "carrel_instance_problems": "Problems in the status of an instance, by level.",
    "carrel_instance_outdated_containers": "Running containers whose image is not the one that its tag means now.",
    "carrel_instance_drift": "How much differs from what the site playbook last deployed, by what it is.",
    "carrel_collector_outdated": "Whether a newer version of the collection than these metrics' set up an instance.",
    "carrel_certificate_expiry_timestamp_seconds": "When the certificate of the public URL ends.",
    "carrel_engine_up": "Whether an instance's engine answers.",
    "carrel_engine_memory_bytes": "Memory of all that an engine runs, as its control group counts it.",
    "carrel_hub_users": "Users in a hub's roster.",
    "carrel_hub_running_servers": "Users' servers of a hub that run.",
    "carrel_reset_scheduled": "Whether an instance is reset each day.",
    "carrel_reset_configured_timestamp_seconds": "When cron got the job of the resets.",
    "carrel_reset_last_start_timestamp_seconds": "When the last reset began.",
    "carrel_reset_last_result": "1 for the result of the last reset, 0 for the others.",
    "carrel_backup_scheduled": "Whether an instance is backed up each day.",
    "carrel_backup_configured_timestamp_seconds": "When the settings of the backups were last written.",
    "carrel_backup_last_success_timestamp_seconds": "When the last good backup ended.",
    "carrel_backup_last_result": "1 for the result of the last backup, 0 for the others.",
    "carrel_drill_scheduled": "Whether a restore of an instance is tried each week.",
    "carrel_drill_last_success_timestamp_seconds": "When the last good drill of a restore ended.",
    "carrel_drill_last_result": "1 for the result of the last drill of a restore, 0 for the others.",
    "carrel_filesystem_free_bytes": "Free space on the file system of an instance's directory.",
    "carrel_filesystem_used_ratio": "Used share of the file system of an instance's directory.",
    "carrel_filesystem_inodes_used_ratio": "Used share of the inodes of that file system.",
    "carrel_engine_filesystem_used_ratio": "Used share of the file system of an engine's data root, if another one.",
    "carrel_engine_filesystem_inodes_used_ratio": "Used share of the inodes of that file system of an engine.",
}
DISK = {
    "carrel_instance_disk_bytes": "Size of an instance's directory.",
    "carrel_engine_images_bytes": "Size of the images of an engine.",
    "carrel_user_disk_bytes": "Size of a user's directories in a hub, of the users who have most.",
}


class Sample(NamedTuple):
    name: str
    labels: Mapping[str, str]
    value: float


Tell = Callable[[Instance], Iterator[Sample]]


def health(instances: Iterable[Instance], memory: Mapping[str, int]) -> str:
    """Return metrics of health. MEMORY has bytes by engine, for engines whose control group counts them."""
    samples = [sample for instance in instances for sample in _told(instance, _health, _unknown)]
    samples += [Sample("carrel_engine_memory_bytes", {"engine": name}, count) for name, count in memory.items()]
    return _text(HEALTH, [*samples, _collected("health", True)])


def disk(instances: Iterable[Instance], users: Mapping[str, Mapping[str, int]], most: int) -> str:
    """Return metrics of disk usage. USERS has bytes by instance and user. At most MOST users get a metric."""
    samples = [sample for instance in instances for sample in _told(instance, _disk, lambda found: iter(()))]
    for name, sizes in users.items():
        largest = sorted(sizes.items(), key=lambda entry: -entry[1])[:most]
        samples += [Sample("carrel_user_disk_bytes", {"name": name, "user": user}, count) for user, count in largest]
    return _text(DISK, [*samples, _collected("disk", True)])


def failed(what: str) -> str:
    """Return what is known after a collection of health or disk usage that failed."""
    return _text({}, [_collected(what, False)])


def _collected(what: str, good: bool) -> Sample:
    return Sample(COLLECTED, {"what": what}, good)


def _told(found: Instance, tell: Tell, otherwise: Tell) -> list[Sample]:
    """A fault in one instance leaves the others their metrics."""
    try:
        return [sample._replace(value=float(sample.value)) for sample in tell(found)]
    except Exception:  # accounts write what was read, and it can be anything
        return list(otherwise(found))


def _unknown(found: Instance) -> Iterator[Sample]:
    name = {"name": found["name"]}
    yield Sample("carrel_instance_up", name, False)
    yield Sample("carrel_instance_problems", {**name, "level": ERROR}, 1)


def _health(found: Instance) -> Iterator[Sample]:
    name = {"name": found["name"]}
    engine = found["engine"] or {}
    about = {key: str(found[key] or "") for key in ("kind", "state", "url")}
    yield Sample("carrel_instance_info", {**name, "engine": str(engine.get("name", "")), **about}, 1)
    site = found["site"] or {}
    # Without its record, it is not known whether the instance should answer.
    if found["state"] in ("present", None):
        yield Sample("carrel_instance_up", name, bool(site.get("answers")))
    if site.get("answers"):
        yield Sample("carrel_instance_answer_seconds", name, site["milliseconds"] / 1000)
    if site.get("certificate"):
        yield from _time("carrel_certificate_expiry_timestamp_seconds", name, site["certificate"]["ends"])
    levels = [problem["level"] for problem in found["problems"]]
    for level in (ERROR, WARNING):
        yield Sample("carrel_instance_problems", {**name, "level": level}, levels.count(level))
    if engine:
        yield Sample("carrel_engine_up", {"engine": str(engine["name"])}, bool(engine["running"]))
    if found["containers"] is not None:
        running = [entry for entry in found["containers"] if entry["state"] == "running"]
        outdated = sum(not entry["as_tagged"] for entry in running)
        yield Sample("carrel_instance_outdated_containers", name, outdated)
    if "drift" in found:
        yield Sample("carrel_collector_outdated", name, found["drift"] is None)
    for what, count in (found.get("drift") or {}).items():
        yield Sample("carrel_instance_drift", {**name, "what": what}, count)
    if found["users"]:
        yield Sample("carrel_hub_users", name, found["users"]["known"])
        yield Sample("carrel_hub_running_servers", name, found["users"]["servers"])
    yield Sample("carrel_reset_scheduled", name, bool(found["state"] == "present" and found["schedule"]))
    yield from _time("carrel_reset_configured_timestamp_seconds", name, (found["schedule"] or {}).get("since"))
    if found["reset"]:
        yield from _time("carrel_reset_last_start_timestamp_seconds", name, found["reset"]["started"])
        for result in OUTCOMES:
            same = result == found["reset"]["result"]
            yield Sample("carrel_reset_last_result", {**name, "result": result}, same)
    backup = found["backup"] or {}
    yield from _time("carrel_backup_configured_timestamp_seconds", name, backup.get("since"))
    yield from _kept("backup", name, bool(backup.get("scheduled")), backup)
    yield from _kept("drill", name, bool(backup.get("drilled")), backup.get("drill") or {})
    if found["disk"]:
        yield Sample("carrel_filesystem_free_bytes", name, found["disk"]["free_bytes"])
        yield from _used("carrel_filesystem", name, found["disk"])
        if engine and found["disk"]["engine"]:
            yield from _used("carrel_engine_filesystem", {"engine": str(engine["name"])}, found["disk"]["engine"])


def _used(metric: str, labels: Mapping[str, str], system: Mapping[str, Any]) -> Iterator[Sample]:
    yield Sample(f"{metric}_used_ratio", labels, system["used_percent"] / 100)
    yield Sample(f"{metric}_inodes_used_ratio", labels, system["files_percent"] / 100)


def _kept(what: str, name: Mapping[str, str], scheduled: bool, run: Mapping[str, Any]) -> Iterator[Sample]:
    yield Sample(f"carrel_{what}_scheduled", name, scheduled)
    yield from _time(f"carrel_{what}_last_success_timestamp_seconds", name, run.get("good"))
    if run.get("result"):
        for result in ENDS:
            yield Sample(f"carrel_{what}_last_result", {**name, "result": result}, result == run["result"])


def _disk(found: Instance) -> Iterator[Sample]:
    sizes = found["disk"] or {}
    if sizes.get("directory_bytes") is not None:
        yield Sample("carrel_instance_disk_bytes", {"name": found["name"]}, sizes["directory_bytes"])
    if found["engine"] and sizes.get("images_bytes") is not None:
        yield Sample("carrel_engine_images_bytes", {"engine": str(found["engine"]["name"])}, sizes["images_bytes"])


def _time(name: str, labels: Mapping[str, str], text: str | None) -> Iterator[Sample]:
    moment = parse_time(text)
    if moment:
        yield Sample(name, labels, moment.timestamp())


def _text(described: Mapping[str, str], samples: Iterable[Sample]) -> str:
    """Return the text, with each series once: several instances may share an engine."""
    described = {**described, **COLLECTIONS}
    lines: dict[str, dict[str, float]] = {name: {} for name in described}
    for sample in samples:
        labels = ",".join(f'{key}="{_escape(value)}"' for key, value in sample.labels.items())
        lines[sample.name][f"{sample.name}{{{labels}}}"] = float(sample.value)
    parts = []
    for name, series in lines.items():
        if series:
            parts += [f"# HELP {name} {described[name]}", f"# TYPE {name} gauge"]
            parts += [f"{key} {value!r}" for key, value in series.items()]
    return "\n".join(parts) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
