# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances and the images that were built for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Entry = Mapping[str, Any]


def bind(plan: Mapping[str, Sequence[Entry]], built: Sequence[Entry]) -> dict[str, Any]:
    """Return the plan's instances and jobs with tags in place of {declared: NAME}.

    BUILT: what came of each image in an engine: `engine`, `name`, `image` (its tag; null if check mode does not know
    it), `error` (null if there is none). Instances that were to get an image that failed are left out, so that nothing
    touches what they run on; `failures` has them.
    """
    tags = {(item["engine"], item["name"]): item["image"] for item in built}
    failures = [
        {**item, "instances": [job["name"] for job in plan["reset_jobs"] if _builds(job, item)]}
        for item in built
        if item["error"]
    ]
    left = {name for failure in failures for name in failure["instances"]}

    def tag(entry: Entry, image: Any) -> Any:
        return tags.get((entry["engine"], image["declared"])) if isinstance(image, Mapping) else image

    def text(entry: Entry, image: Any) -> Any:
        """The bare name where nothing was built, which is where no container starts."""
        return tag(entry, image) or (image["declared"] if isinstance(image, Mapping) else image)

    def there(key: str) -> list[Entry]:
        return [entry for entry in plan[key] if entry["name"] not in left]

    return {
        "lab_instances": [{**lab, "image": text(lab, lab["image"])} for lab in there("lab_instances")],
        "hub_instances": [
            {**hub, "images": [{**item, "image": text(hub, item["image"])} for item in hub["images"]]}
            for hub in there("hub_instances")
        ],
        "reset_jobs": [
            {**job, "images": list(filter(None, (tag(job, image) for image in job["images"])))}
            for job in there("reset_jobs")
        ],
        "failures": failures,
    }


def _builds(job: Entry, item: Entry) -> bool:
    """Whether the instance of a job was to get the image."""
    wanted = {"declared": item["name"]} in job["images"]
    return wanted and job["state"] == "present" and job["engine"] == item["engine"]
