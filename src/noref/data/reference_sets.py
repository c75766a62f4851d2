"""Rows of the data sets whose images are distorted copies of references; `readers` has the dictionary of all.

Each also reads the tables that other toolboxes bring in place of the release's own; docs/data.md has all layouts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from noref.data.records import Record, Scale
from noref.data.release import Rows, meta
from noref.data.tables import Files, first_table, number, read_cells, read_csv, read_excel, read_matlab
from noref.errors import DataError

LIVE_COUNTS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
LIVE_TABLES = ("dmos_realigned.mat", "LIVE.txt")
LIVE_ORIGINAL_TABLES = ("dmos.mat", *meta("LIVEIQA"))
LIVE_COLUMNS = {".txt": ("dis_img_path", "score", "ref_img_path"), ".csv": ("dist_name", "mos", "ref_name")}
CSIQ_TABLES = ("csiq_label.txt", "csiq.DMOS.xlsx", "CSIQ.txt", *meta("CSIQ"))
CSIQ_KINDS = {"noise": "AWGN", "blur": "BLUR", "jpeg": "JPEG", "jpeg 2000": "jpeg2000"}  # workbook -> file name
TID2013_TABLES = ("mos_with_names.txt", *meta("TID2013"))
KADID10K_TABLES = ("dmos.csv", "kadid10k_label.txt", *meta("KADID10k"))


def live(table: Path, found: Files, scale: Scale) -> Rows:
    """LIVE (release 2): the 779 distorted images; the 203 undistorted copies among the 982 rows are left out.

    Realigned scores run from -2.64 to 111.77, as most papers take them; those of `dmos.mat` from 0 to 100.

    Source:
        Sheikh et al. 2006, https://live.ece.utexas.edu/research/quality/subjective.htm
    """
    original = first_table(found.folder, LIVE_ORIGINAL_TABLES)
    if table.name == LIVE_TABLES[0] and not table.is_file() and original.is_file():
        raise DataError(
            f"{table}: no realigned scores; {original.name} holds the original ones: read them as live-original"
        )
    for line, name, score, reference in _live_matlab(table) if table.suffix == ".mat" else _live_text(table):
        yield line, Record(found.path(name), number(score, table, line), scale, reference, name.split("/")[0])


def _live_text(table: Path) -> Iterator[tuple[int, str, str, str]]:
    """Line, image, score and reference."""
    image, score, reference = LIVE_COLUMNS[table.suffix]
    for line, row in read_csv(table, [image, score, reference]):
        yield line, "/".join(row[image].split("/")[-2:]), row[score], row[reference].split("/")[-1]


def _live_matlab(table: Path) -> Iterator[tuple[int, str, str, str]]:
    """Row, image, score and reference of the distorted images."""
    scores = read_matlab(table, "dmos_new" if table.name == LIVE_TABLES[0] else "dmos")
    copies, references = read_matlab(table, "orgs"), read_matlab(table.with_name("refnames_all.mat"), "refnames_all")
    names = [f"{kind}/img{i}.bmp" for kind, count in LIVE_COUNTS.items() for i in range(1, count + 1)]
    counts = len(scores), len(copies), len(references)
    if set(counts) != {len(names)}:
        raise DataError("{}: {} scores, {} flags, {} references, not {}".format(table, *counts, len(names)))
    for row, (name, score, copy, reference) in enumerate(zip(names, scores, copies, references, strict=True), start=1):
        if not copy:
            yield row, name, str(score), str(reference)


def csiq(table: Path, found: Files, scale: Scale) -> Rows:
    """CSIQ: lines `NAME.KIND.LEVEL.png SCORE` (`.png` may be absent), or the columns of the release's workbook.

    Source:
        Larson and Chandler 2010, https://s2.smu.edu/~eclarson/csiq.html
    """
    for line, cell, score in _csiq_cells(table):
        name = cell if cell.casefold().endswith(".png") else f"{cell}.png"
        parts = name.split(".")
        if len(parts) != 4 or not parts[2].isdigit():
            raise DataError(f"{table}, line {line}: {cell!r} is not NAME.KIND.LEVEL.png")
        reference, kind, level = parts[:3]
        kinds = dict.fromkeys((kind, kind.lower(), kind.upper()))
        path = found.first(name, ["dst_imgs_all", *(f"dst_imgs/{each}" for each in kinds), "dst_imgs"])
        yield line, Record(path, number(score, table, line), scale, f"{reference}.png", kind, int(level))


def _csiq_cells(table: Path) -> Iterator[tuple[int, str, str]]:
    """Line, image and score."""
    if table.name == "csiq_label.txt":
        for line, (name, score) in read_cells(table, 2):
            yield line, name, score
    elif table.suffix == ".xlsx":
        for line, row in read_excel(table, ["image", "dst_type", "dst_lev", "dmos"], sheet="all_by_image"):
            image, level = row["image"].removesuffix(".0"), row["dst_lev"].removesuffix(".0")
            yield line, f"{image}.{CSIQ_KINDS.get(row['dst_type'], row['dst_type'])}.{level}.png", row["dmos"]
    else:
        image, score = ("dis_img_path", "score") if table.suffix == ".txt" else ("dist_name", "dmos")
        for line, row in read_csv(table, [image, score]):
            yield line, row[image].split("/")[-1], row[score]


def tid2013(table: Path, found: Files, scale: Scale) -> Rows:
    """TID2013: the table writes `I01` and `i01` for one reference, so letter case plays no role in references.

    Source:
        Ponomarenko et al. 2015, https://www.ponomarenko.info/tid2013.htm
    """
    if table.suffix == ".csv":
        cells = [(line, row["dist_name"], row["mos"]) for line, row in read_csv(table, ["dist_name", "mos"])]
    else:
        cells = [(line, name, score) for line, (score, name) in read_cells(table, 2)]
    for line, name, score in cells:
        reference, kind, level = _name_parts(name, table, line)
        path, value = found.path(f"distorted_images/{name}"), number(score, table, line)
        yield line, Record(path, value, scale, f"{reference}.BMP", kind, level)


def kadid10k(table: Path, found: Files, scale: Scale) -> Rows:
    """KADID-10k: the column is called `dmos`, but higher is better. `kadid10k_label.txt` has lines `NAME, SCORE`.

    Source:
        Lin et al. 2019, https://database.mmsp-kn.de/kadid-10k-database.html
    """
    if table.suffix == ".csv":
        column = "dist_img" if table.name == "dmos.csv" else "dist_name"
        cells = [(line, row[column].split("/")[-1], row["dmos"]) for line, row in read_csv(table, [column, "dmos"])]
    else:
        cells = [(line, name, score) for line, (name, score) in read_cells(table, 2, separator=",")]
    for line, name, score in cells:
        reference, kind, level = _name_parts(name, table, line)
        path, value = found.first(name, ["images", "distorted_images"]), number(score, table, line)
        yield line, Record(path, value, scale, f"{reference}.png", kind, level)


def _name_parts(name: str, table: Path, line: int) -> tuple[str, str, int]:
    """`i01_02_3.bmp` -> ("I01", "02", 3)."""
    parts = name.rsplit(".", 1)[0].split("_")
    if len(parts) != 3 or not parts[2].isdigit():
        raise DataError(f"{table}, line {line}: {name!r} is not REFERENCE_KIND_LEVEL")
    return parts[0].upper(), parts[1], int(parts[2])
