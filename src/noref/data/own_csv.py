"""The reader `csv`: scores of one's own, with the range and direction that are said, written beside them, or seen."""

from __future__ import annotations

import csv as csv_module
import dataclasses
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noref.data.own_table import COLUMNS, OwnTable, parse_columns, read_own_table
from noref.data.records import Record, Scale
from noref.data.release import on_disk
from noref.data.tables import existing, read_text, split_part, whole_number
from noref.errors import DataError, OptionError
from noref.writing import check_output, write_text

SCALE_SUFFIX = ".scale.json"  # beside a CSV: the range and direction of its scores
USUAL = ((0, 1), (1, 5), (0, 5), (1, 10), (0, 10), (0, 100), (1, 100))  # ranges of ratings, for a hint
OPTIONAL = ("reference", "distortion", "level", "split")
FLAGS = "--columns, --images, --range and --lower-is-better"


@dataclass(frozen=True)
class Range:
    """The scale of a table, and whether its ends are no more than the smallest and the largest score."""

    scale: Scale
    seen: bool


def csv(
    path: Path,
    *,
    low: float | None = None,
    high: float | None = None,
    higher_is_better: bool | None = None,
    columns: Mapping[str, str] | None = None,
    images: Path | str | None = None,
    every: bool = False,
) -> list[Record]:
    """Scores of a CSV file, on the range that it spans or is given.

    The columns are `path,score`, and where they are known `reference,distortion,level,split`. Which forms of tables are
    read: `noref.data.own_table.read_own_table`.

    Args:
        path: the CSV file, or a folder with exactly one.
        low: the range of the scores begins here. Without `low` and `high` the range is that of `NAME.scale.json`
            beside `NAME.csv`, such as `{"low": 1, "high": 5, "higher_is_better": false}`; without that it is 0-100 if
            all scores lie in it and span more than 10, otherwise the smallest to the largest score of the file, of
            which `cautions` warns.
        high: the range ends here; give both or none.
        higher_is_better: false for DMOS-like scores; None: as `NAME.scale.json` says, otherwise true.
        columns: column -> what it is called in this table.
        images: the folder to which its image paths are relative; None: that of the table.
        every: keep rows whose image is not on the disk. By default such a row is an error.

    Raises:
        OptionError: no such file or folder, a range without two ends or with high below low, or a column that the
            table does not have.
        DataError: names file and line: a missing column, an unknown image, a score that is no number or outside of
            the range, an image that is there twice, a split of another name; or all scores are the same.
    """
    table = _table(path, columns, images)
    scores, file = table.numbers(), table.file
    scale = _range(table, scores, low, high, higher_is_better).scale
    rows = list[tuple[int, Record]]()
    for (line, row), score, image in zip(table.rows, scores, table.images(every=every), strict=True):
        if not scale.low <= score <= scale.high:
            raise table.error(line, f"score {score:g} is outside of {scale.low:g}-{scale.high:g}")
        level = whole_number(row["level"], file, line, "level") if row.get("level") else None
        names = row.get("reference") or None, row.get("distortion") or None
        rows.append((line, Record(image, score, scale, *names, level, split_part(row.get("split", ""), file, line))))
    return on_disk(rows, file, table.files, every=every)


def cautions(
    path: Path,
    *,
    low: float | None = None,
    high: float | None = None,
    higher_is_better: bool | None = None,
    columns: Mapping[str, str] | None = None,
    images: Path | str | None = None,
) -> list[str]:
    """What was taken for granted in reading a CSV, one sentence each; arguments and errors as for `csv`."""
    table = _table(path, columns, images)
    found = []
    if table.encoding == "cp1252":
        found.append(f"{table.file.name} is no UTF-8 text and was read as Windows-1252")
    scores = table.numbers()
    if _range(table, scores, low, high, higher_is_better).seen:
        least, most = min(scores), max(scores)
        hint = next((f"{a},{b}" for a, b in USUAL if a <= least and most <= b), "LOW,HIGH")
        found.append(
            f"the range of the scores is not said; taken for it is {least:g} to {most:g}, the smallest to the largest. "
            f"--range LOW,HIGH says it, such as --range {hint}, or {table.file.stem}{SCALE_SUFFIX} beside the table"
        )
    return found


def options(
    *,
    columns: str | None = None,
    images: Path | str | None = None,
    range_text: str | None = None,
    lower_is_better: bool = False,
) -> dict[str, Any]:
    """The words of a command line as keyword arguments of `csv`; what was not said is left out.

    Raises:
        OptionError: `--columns` or `--range` of another form.

    Example:
        >>> options(columns="image=filename", range_text="1,5", lower_is_better=True)
        {'columns': {'path': 'filename'}, 'low': 1.0, 'high': 5.0, 'higher_is_better': False}
    """
    found: dict[str, Any] = {}
    if columns is not None:
        found["columns"] = parse_columns(columns)
    if images is not None:
        found["images"] = str(images)
    if range_text is not None:
        try:
            low, high = map(float, range_text.split(","))
            scale = Scale(low, high)
        except ValueError as error:
            raise OptionError(f"--range {range_text!r}: write LOW,HIGH with LOW below HIGH, such as 1,5") from error
        found |= {"low": scale.low, "high": scale.high}
    return found | ({"higher_is_better": False} if lower_is_better else {})


def flags(said: Mapping[str, Any]) -> list[str]:
    """The words of a command line that say these options.

    Example:
        >>> flags({"columns": {"score": "MOS, mean"}, "low": 1.0, "high": 5.0})
        ['--columns', '"score=MOS, mean"', '--range', '1,5']
    """
    found = []
    if columns := said.get("columns"):
        text = io.StringIO()
        csv_module.writer(text, lineterminator="").writerow(
            f"{COLUMNS[name][-1]}={own}" for name, own in columns.items()
        )
        found += ["--columns", text.getvalue()]
    found += ["--images", str(said["images"])] if "images" in said else []
    found += ["--range", f"{said['low']:g},{said['high']:g}"] if "low" in said else []
    return found + (["--lower-is-better"] if said.get("higher_is_better") is False else [])


def write(records: Sequence[Record], file: Path) -> None:
    """Write records as a CSV that `csv` reads to the same records, with its scale beside it.

    Raises:
        OptionError: one of the two files is there, or cannot be written.
        DataError: a name that UTF-8 cannot hold.
    """
    beside = file.with_name(file.stem + SCALE_SUFFIX)
    for target in (file, beside):
        check_output(target)
    text = io.StringIO()
    table = csv_module.writer(text, lineterminator="\n")
    table.writerow(["path", "score", *OPTIONAL])
    for record in records:
        path = Path(os.path.relpath(record.path, file.parent)).as_posix()
        labels = (getattr(record, name) for name in OPTIONAL)
        table.writerow([path, repr(record.raw_score), *("" if label is None else label for label in labels)])
    try:
        write_text(beside, json.dumps(dataclasses.asdict(records[0].scale)) + "\n")
        write_text(file, text.getvalue())
    except UnicodeEncodeError as error:
        raise DataError(f"{file}: the name of an image is no UTF-8 text, which a CSV cannot hold") from error
    except OSError as error:
        raise OptionError(f"{file}: cannot be written: {error.strerror or error}") from error


def _table(path: Path, columns: Mapping[str, str] | None, images: Path | str | None) -> OwnTable:
    file, folder = _csv_file(existing(path)), None if images is None else existing(images)
    return read_own_table(file, ["path", "score"], OPTIONAL, columns=columns, images=folder)


def _csv_file(path: Path) -> Path:
    """The CSV file itself, or the only one in a folder."""
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.csv"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found)
        raise DataError(f"{path}: one CSV file wanted, there {f'are {len(found)}: {names}' if found else 'is none'}")
    return found[0]


def _range(table: OwnTable, scores: list[float], low: float | None, high: float | None, higher: bool | None) -> Range:
    """What the caller says, else what is written beside the table, else 0-100 or what the scores span."""
    written = _written(table.file)
    if (low is None) != (high is None):
        raise OptionError("give both ends of the score range, or none")
    if higher is None:
        higher = written.get("higher_is_better") is not False
    least, most, seen = min(scores), max(scores), False
    if low is None or high is None:
        low, high = written.get("low"), written.get("high")
    if low is None or high is None:
        if least == most:
            raise DataError(f"{table.file}: every score is {least:g}; there is nothing to learn, and no range to guess")
        seen = least < 0 or most > 100 or most - least <= 10
        low, high = (least, most) if seen else (0, 100)
    try:
        return Range(Scale(low, high, higher), seen)
    except ValueError as error:
        raise OptionError(str(error)) from error


def _written(file: Path) -> dict[str, Any]:
    """What `NAME.scale.json` beside `NAME.csv` says; nothing where there is no such file."""
    path = file.with_name(file.stem + SCALE_SUFFIX)
    if not path.is_file():
        return {}
    try:
        content = json.loads(read_text(path))
        low, high, higher = (content.pop(key, None) for key in ("low", "high", "higher_is_better"))
        if content or not isinstance(higher, bool | None) or (low is None) != (high is None):
            raise ValueError(f"{content or higher}")
        scale = None if low is None else Scale(float(low), float(high))
        return {"higher_is_better": higher, **({"low": scale.low, "high": scale.high} if scale else {})}
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a scale, low, high and higher_is_better: {error}") from error
