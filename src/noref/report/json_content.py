"""What `report.json` holds; docs/report.md says what the fields mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from noref.evaluate.uncertainty import Difference
from noref.report.cell_metrics import METRICS, Comparison, Group, by_distortion, by_level
from noref.report.formatting import difference_text
from noref.report.sections import Examples, PublishedTable
from noref.report.table import nested


def result_json(group: Group) -> dict[str, Any]:
    """A model with its metrics; null where one is not defined."""
    return {
        **group.model._asdict(),
        "cells": [cell.name for cell in group.cells],
        "splits": list(group.splits),
        "images": group.images,
        **{name: asdict(group.metrics[name]) if name in group.metrics else None for name in METRICS},
        "distortions": [asdict(subset) for subset in by_distortion(group)],
        "levels": [asdict(subset) for subset in by_level(group)],
    }


def comparison_json(one: Comparison) -> dict[str, Any]:
    """Two models and their differences; null where there are none."""

    def difference(found: Difference | None) -> dict[str, Any] | None:
        return None if found is None else {**asdict(found), "words": difference_text(found)}

    return {
        "first": one.first._asdict(),
        "second": one.second._asdict(),
        "splits": list(one.splits),
        "srcc": difference(one.srcc),
        "plcc": difference(one.plcc),
        "trouble": one.trouble,
    }


def published_json(table: PublishedTable) -> dict[str, Any]:
    """The rows of the papers with ours among them."""
    return {
        "training_set": table.model.training_set,
        "test_set": table.model.test_set,
        "fraction": table.model.fraction,
        "rows": [{**asdict(row), "ours": row.ours} for row in (*table.rows, *table.ablations)],
        "differs": list(table.differences),
    }


def examples_json(examples: Examples) -> dict[str, Any]:
    """The best and worst predicted images, without thumbnails."""

    def rows(images: list[Any]) -> list[dict[str, Any]]:
        return [{key: value for key, value in asdict(image).items() if key != "thumbnail"} for image in images]

    return {**examples.group.model._asdict(), **{kind: rows(images) for kind, images in examples.images.items()}}


def metadata_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the bench says besides, without the folders of the machine that it ran on."""
    data = {
        name: {key: value for key, value in nested(metadata, "data", name).items() if key not in ("path", "root")}
        for name in nested(metadata, "data")
    }
    return {**{key: value for key, value in metadata.items() if key != "cells"}, **({"data": data} if data else {})}
