"""Readers of the data sets whose images are distorted copies of references; `readers` has the dictionary of all.

Each also reads the table that another toolbox brings in place of the release's own; docs/data.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from noref.data.records import Record, Scale
from noref.data.tables import Files, either, kept, number, place, read_cells, read_csv, read_excel, read_matlab
from noref.errors import DataError

META = "meta_info/meta_info_{}Dataset.csv"


def meta(name: str) -> tuple[str, str]:
    """Where IQA-PyTorch's own table of a data set lies: in the data set's folder, or in one beside it."""
    return META.format(name), f"../{META.format(name)}"


LIVE_COUNTS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
CSIQ_KINDS = {"noise": "AWGN", "blur": "BLUR", "jpeg": "JPEG", "jpeg 2000": "jpeg2000"}  # workbook -> file name
LIVE_TABLES = ("dmos_realigned.mat", "LIVE.txt")
LIVE_COLUMNS = {".txt": ("dis_img_path", "score", "ref_img_path"), ".csv": ("dist_name", "mos", "ref_name")}
LIVE_ORIGINAL_TABLES = ("dmos.mat", *meta("LIVEIQA"))
CSIQ_TABLES = ("csiq_label.txt", "csiq.DMOS.xlsx", "CSIQ.txt", *meta("CSIQ"))
TID2013_TABLES = ("mos_with_names.txt", *meta("TID2013"))
KADID10K_TABLES = ("dmos.csv", "kadid10k_label.txt", *meta("KADID10k"))


def live(folder: Path, *, realigned: bool = True, every: bool = False) -> list[Record]:
    """LIVE (release 2): 779 distorted images of 29 references, DMOS, lower is better.

    Layout: `jp2k jpeg wn gblur fastfading` with `img1.bmp`..., `refnames_all.mat`, and `dmos_realigned.mat` or
    `dmos.mat`. The 203 undistorted copies among the 982 rows are left out. Instead of these tables also ARNIQA's
    `LIVE.txt` (realigned scores), or the table of IQA-PyTorch (original scores).

    Args:
        folder: where these lie.
        realigned: take the realigned scores (-2.64 to 111.77, so their scale is -3 to 112), as most papers do;
            false: those of `dmos.mat` (0 to 100), as `live-original` does.
        every: keep rows whose image is not on the disk.

    Raises:
        OptionError: no such folder.
        DataError: a table is missing, broken or not 982 rows long, or no image is there.

    Source:
        Sheikh et al. 2006, https://live.ece.utexas.edu/research/quality/subjective.htm
    """
    folder = place(folder)
    table = either(folder, LIVE_TABLES if realigned else LIVE_ORIGINAL_TABLES)
    scale = Scale(-3, 112, False) if realigned else Scale(0, 100, False)
    if realigned and not table.is_file() and either(folder, LIVE_ORIGINAL_TABLES).is_file():
        raise DataError(
            f"{table}: no realigned scores; {either(folder, LIVE_ORIGINAL_TABLES).name} holds the original ones: "
            "read them as live-original"
        )
    found = Files(folder)
    rows = [
        (row, Record(found.path(name), number(score, table, row), scale, reference, name.split("/")[0]))
        for row, name, score, reference in _live_rows(table)
    ]
    return kept(rows, table, found, every=every)


def live_original(folder: Path, *, every: bool = False) -> list[Record]:
    """LIVE with the scores of `dmos.mat`, before their realignment: `live(folder, realigned=False)`."""
    return live(folder, realigned=False, every=every)


def _live_rows(table: Path) -> Iterator[tuple[int, str, str, str]]:
    """Row, image, score and reference of the distorted images."""
    if table.suffix != ".mat":
        image, value, original = LIVE_COLUMNS[table.suffix]
        for line, cells in read_csv(table, [image, value, original]):
            yield line, "/".join(cells[image].split("/")[-2:]), cells[value], cells[original].split("/")[-1]
        return
    scores = read_matlab(table, "dmos_new" if table.name == "dmos_realigned.mat" else "dmos")
    copies, references = read_matlab(table, "orgs"), read_matlab(table.with_name("refnames_all.mat"), "refnames_all")
    names = [f"{kind}/img{i}.bmp" for kind, count in LIVE_COUNTS.items() for i in range(1, count + 1)]
    if not len(scores) == len(copies) == len(references) == len(names):
        raise DataError(
            f"{table}: {len(scores)} scores, {len(copies)} flags, {len(references)} references, not {len(names)}"
        )
    for row, (name, score, copy) in enumerate(zip(names, scores, copies, strict=True), start=1):
        if not copy:
            yield row, name, str(score), str(references[row - 1])


def csiq(folder: Path, *, every: bool = False) -> list[Record]:
    """CSIQ: 866 distorted images of 30 references, DMOS 0-1, lower is better.

    Layout: the release's `csiq.DMOS.xlsx`, or `csiq_label.txt` with lines `NAME.KIND.LEVEL.png SCORE` (`.png` may be
    absent), which is read where both are there; the images in `dst_imgs/KIND/` or all together in `dst_imgs_all/` or
    `dst_imgs/`. Instead also ARNIQA's `CSIQ.txt` or the table of IQA-PyTorch.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        OptionError: no such folder.
        DataError: the table is missing or broken, or no image is there.
        MissingExtraError: the workbook needs openpyxl.

    Source:
        Larson and Chandler 2010, https://s2.smu.edu/~eclarson/csiq.html
    """
    folder, scale = place(folder), Scale(0, 1, False)
    table, found, rows = either(folder, CSIQ_TABLES), Files(folder), []
    for line, cell, score in _csiq_rows(table):
        name = cell if cell.casefold().endswith(".png") else f"{cell}.png"
        parts = name.split(".")
        if len(parts) != 4 or not parts[2].isdigit():
            raise DataError(f"{table}, line {line}: {cell!r} is not NAME.KIND.LEVEL.png")
        reference, kind, level = parts[:3]
        kinds = dict.fromkeys((kind, kind.lower(), kind.upper()))
        path = found.first(name, ["dst_imgs_all", *(f"dst_imgs/{each}" for each in kinds), "dst_imgs"])
        rows.append((line, Record(path, number(score, table, line), scale, f"{reference}.png", kind, int(level))))
    return kept(rows, table, found, every=every)


def _csiq_rows(table: Path) -> Iterator[tuple[int, str, str]]:
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


def tid2013(folder: Path, *, every: bool = False) -> list[Record]:
    """TID2013: 3000 distorted images of 25 references, MOS 0-9, higher is better.

    Layout: `mos_with_names.txt` (or the table of IQA-PyTorch), `distorted_images/`. The table writes `I01` and `i01`
    for one reference; letter case plays no role here, neither in the reference nor in finding the image.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        OptionError: no such folder.
        DataError: the table is missing or broken, or no image is there.

    Source:
        Ponomarenko et al. 2015, https://www.ponomarenko.info/tid2013.htm
    """
    folder, scale = place(folder), Scale(0, 9)
    table, found = either(folder, TID2013_TABLES), Files(folder / "distorted_images")
    if table.suffix == ".csv":
        cells = [(line, row["dist_name"], row["mos"]) for line, row in read_csv(table, ["dist_name", "mos"])]
    else:
        cells = [(line, name, score) for line, (score, name) in read_cells(table, 2)]
    rows = []
    for line, name, score in cells:
        reference, kind, level = _three(name, table, line)
        value = number(score, table, line)
        rows.append((line, Record(found.path(name), value, scale, f"{reference.upper()}.BMP", kind, level)))
    return kept(rows, table, found, every=every)


def kadid10k(folder: Path, *, every: bool = False) -> list[Record]:
    """KADID-10k: 10125 distorted images of 81 references, scores 1-5 in a column called `dmos`, higher is better.

    Layout: `dmos.csv` (or `kadid10k_label.txt` with lines `NAME, SCORE`, or the table of IQA-PyTorch), and the images
    in `images/` or `distorted_images/`.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        OptionError: no such folder.
        DataError: the table is missing or broken, or no image is there.

    Source:
        Lin et al. 2019, https://database.mmsp-kn.de/kadid-10k-database.html
    """
    folder, scale = place(folder), Scale(1, 5)
    table = either(folder, KADID10K_TABLES)
    if table.suffix == ".csv":
        column = "dist_img" if table.name == "dmos.csv" else "dist_name"
        cells = [(line, row[column].split("/")[-1], row["dmos"]) for line, row in read_csv(table, [column, "dmos"])]
    else:
        cells = [(line, name, score) for line, (name, score) in read_cells(table, 2, separator=",")]
    found, rows = Files(folder), []
    for line, name, score in cells:
        reference, kind, level = _three(name, table, line)
        path, value = found.first(name, ["images", "distorted_images"]), number(score, table, line)
        rows.append((line, Record(path, value, scale, f"{reference.upper()}.png", kind, level)))
    return kept(rows, table, found, every=every)


def _three(name: str, table: Path, line: int) -> tuple[str, str, int]:
    """`I01_02_3.bmp` -> ("I01", "02", 3)."""
    parts = name.rsplit(".", 1)[0].split("_")
    if len(parts) != 3 or not parts[2].isdigit():
        raise DataError(f"{table}, line {line}: {name!r} is not REFERENCE_KIND_LEVEL")
    return parts[0], parts[1], int(parts[2])
