"""Predicted and human scores as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from noref.data.records import Record, names


def prediction_rows(
    records: Sequence[Record], quality: Sequence[float], *, among: Sequence[Record]
) -> list[dict[str, Any]]:
    """A row an image: raw scores, on the data set's own scale and in its own direction, and quality.

    Names are those `among` all records of the data set: an image has the same name in every split.
    """
    named = dict(zip((record.path for record in among), names(among), strict=True))
    found = zip((named[record.path] for record in records), records, quality, strict=True)
    return [{"path": n, "predicted": r.scale.raw(q), "score": r.raw_score, "quality": q} for n, r, q in found]


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV; columns in the order in which they first appear.

    Example:
        >>> as_csv([{"path": "a.png", "score": 1}, {"path": "b.png", "srcc": 2}]).splitlines()
        ['path,score,srcc', 'a.png,1,', 'b.png,,2']
    """
    rows = list(rows)
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def is_predictions(head: bytes) -> bool:
    """Whether a file that begins with `head` was written by `prediction_rows` and `as_csv`."""
    return head.startswith(b"path,predicted,score,quality\n")
