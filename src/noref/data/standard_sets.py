"""Readers of the other seven standard data sets; `readers` has the dictionary of all, and the common rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from noref.data.records import Record, Scale
from noref.data.tables import Files, kept, number, part, read_cells, read_csv, read_excel, read_matlab
from noref.errors import DataError

LIVE_COUNTS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}


def live(folder: Path, *, realigned: bool = True, every: bool = False) -> list[Record]:
    """LIVE (release 2): 779 distorted images of 29 references, DMOS, lower is better.

    Layout: `jp2k jpeg wn gblur fastfading` with `img1.bmp`..., `refnames_all.mat`, and `dmos_realigned.mat` or
    `dmos.mat`. The 203 undistorted copies among the 982 rows are left out.

    Args:
        folder: where these lie.
        realigned: take the realigned scores (-2.64 to 111.77, so their scale is -3 to 112), as most papers do;
            false: those of `dmos.mat` (0 to 100). A report should say which.
        every: keep rows whose image is not on the disk.

    Raises:
        DataError: a table is missing, broken or not 982 rows long, or no image is there.

    Source:
        Sheikh et al. 2006, https://live.ece.utexas.edu/research/quality/subjective.htm
    """
    folder = Path(folder)
    table = folder / ("dmos_realigned.mat" if realigned else "dmos.mat")
    scores, copies = read_matlab(table, "dmos_new" if realigned else "dmos"), read_matlab(table, "orgs")
    references = read_matlab(folder / "refnames_all.mat", "refnames_all")
    names = [(kind, f"img{i}.bmp") for kind, count in LIVE_COUNTS.items() for i in range(1, count + 1)]
    if not len(scores) == len(copies) == len(references) == len(names):
        raise DataError(
            f"{table}: {len(scores)} scores, {len(copies)} flags, {len(references)} references, not {len(names)}"
        )
    found, scale = Files(folder), Scale(-3, 112, False) if realigned else Scale(0, 100, False)
    rows = [
        (row, Record(found.path(f"{kind}/{name}"), number(str(score), table, row), scale, str(reference), kind))
        for row, ((kind, name), score, copy, reference) in enumerate(
            zip(names, scores, copies, references, strict=True), start=1
        )
        if not copy
    ]
    return kept(rows, table, every=every)


def csiq(folder: Path, *, every: bool = False) -> list[Record]:
    """CSIQ: 866 distorted images of 30 references, DMOS 0-1, lower is better.

    Layout: `csiq_label.txt` with lines `NAME.KIND.LEVEL.png SCORE` (`.png` may be absent), and the images in
    `dst_imgs/KIND/` or all together in `dst_imgs_all/`.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        DataError: the table is missing or broken, or no image is there.

    Source:
        Larson and Chandler 2010, https://s2.smu.edu/~eclarson/csiq.html
    """
    folder, scale = Path(folder), Scale(0, 1, False)
    table, found, rows = folder / "csiq_label.txt", Files(folder), []
    for line, (cell, score) in read_cells(table, 2):
        name = cell if cell.casefold().endswith(".png") else f"{cell}.png"
        parts = name.split(".")
        if len(parts) != 4 or not parts[2].isdigit():
            raise DataError(f"{table}, line {line}: {cell!r} is not NAME.KIND.LEVEL.png")
        reference, kind, level = parts[:3]
        path = _first(
            found, name, ["dst_imgs_all", f"dst_imgs/{kind}", f"dst_imgs/{kind.lower()}", f"dst_imgs/{kind.upper()}"]
        )
        rows.append((line, Record(path, number(score, table, line), scale, f"{reference}.png", kind, int(level))))
    return kept(rows, table, every=every)


def tid2013(folder: Path, *, every: bool = False) -> list[Record]:
    """TID2013: 3000 distorted images of 25 references, MOS 0-9, higher is better.

    Layout: `mos_with_names.txt`, `distorted_images/`, `reference_images/`. The table writes `I01` and `i01` for one
    reference; letter case plays no role here, neither in the reference nor in finding the image.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        DataError: the table is missing or broken, or no image is there.

    Source:
        Ponomarenko et al. 2015, https://www.ponomarenko.info/tid2013.htm
    """
    folder, scale = Path(folder), Scale(0, 9)
    table, found, rows = folder / "mos_with_names.txt", Files(folder / "distorted_images"), []
    for line, (score, name) in read_cells(table, 2):
        reference, kind, level = _three(name, table, line)
        value = number(score, table, line)
        rows.append((line, Record(found.path(name), value, scale, f"{reference.upper()}.BMP", kind, level)))
    return kept(rows, table, every=every)


def kadid10k(folder: Path, *, every: bool = False) -> list[Record]:
    """KADID-10k: 10125 distorted images of 81 references, scores 1-5 in a column called `dmos`, higher is better.

    Layout: `dmos.csv` (or `kadid10k_label.txt` with lines `NAME, SCORE`), and the images in `images/` or
    `distorted_images/`.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        DataError: the table is missing or broken, or no image is there.

    Source:
        Lin et al. 2019, https://database.mmsp-kn.de/kadid-10k-database.html
    """
    folder, scale = Path(folder), Scale(1, 5)
    table = _either(folder, ["dmos.csv", "kadid10k_label.txt"])
    if table.suffix == ".csv":
        cells = [(line, row["dist_img"], row["dmos"]) for line, row in read_csv(table, ["dist_img", "dmos"])]
    else:
        cells = [(line, name, score) for line, (name, score) in read_cells(table, 2, separator=",")]
    found, rows = Files(folder), []
    for line, name, score in cells:
        reference, kind, level = _three(name, table, line)
        path, value = _first(found, name, ["images", "distorted_images"]), number(score, table, line)
        rows.append((line, Record(path, value, scale, f"{reference.upper()}.png", kind, level)))
    return kept(rows, table, every=every)


def koniq10k(folder: Path, *, every: bool = False) -> list[Record]:
    """KonIQ-10k: 10073 photos, MOS 0-100, higher is better, official split 7058/1000/2015.

    Layout: `koniq10k_distributions_sets.csv` (has the split) or `koniq10k_scores_and_distributions.csv` (its column
    `MOS_zscore` is on the same scale; `MOS` there is 1-5), and the images in `1024x768/` or `512x384/`.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        DataError: the table is missing or broken, or no image is there.

    Source:
        Hosu et al. 2020, https://database.mmsp-kn.de/koniq-10k-database.html
    """
    folder, scale = Path(folder), Scale(0, 100)
    table = _either(folder, ["koniq10k_distributions_sets.csv", "koniq10k_scores_and_distributions.csv"])
    column = "MOS" if "sets" in table.name else "MOS_zscore"
    found, rows = Files(folder), []
    for line, row in read_csv(table, ["image_name", column]):
        path = _first(found, row["image_name"], ["1024x768", "512x384"])
        value, official = number(row[column], table, line), part(row.get("set", ""), table, line)
        rows.append((line, Record(path, value, scale, split=official)))
    return kept(rows, table, every=every)


def livefb(folder: Path, *, every: bool = False) -> list[Record]:
    """LIVEFB (FLIVE, PaQ-2-PiQ): 39810 photos, MOS 0-100, higher is better.

    Layout: `labels_image.csv`, and the images below `database/`. The patches of the release are not read.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        DataError: the table is missing or broken, or no image is there.

    Source:
        Ying et al. 2020, https://github.com/baidut/PaQ-2-PiQ
    """
    table, found, scale = Path(folder) / "labels_image.csv", Files(Path(folder)), Scale(0, 100)
    rows = [
        (line, Record(_first(found, row["name"], ["database", "."]), number(row["mos"], table, line), scale))
        for line, row in read_csv(table, ["name", "mos"])
    ]
    return kept(rows, table, every=every)


def spaq(folder: Path, *, every: bool = False) -> list[Record]:
    """SPAQ: 11125 phone photos, MOS 0-100, higher is better.

    Layout: `Annotations/MOS and Image attribute scores.xlsx` (or the same as `.csv`), and the images in `TestImage/`,
    or shrunk in `512x384/` or `SPAQ zip/512x384/`.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        DataError: the table is missing or broken, or no image is there.
        MissingExtraError: the workbook needs openpyxl.

    Source:
        Fang et al. 2020, https://github.com/h4nwei/SPAQ
    """
    folder, scale = Path(folder), Scale(0, 100)
    stem = "Annotations/MOS and Image attribute scores"
    table = _either(folder, [f"{stem}.xlsx", f"{stem}.csv"])
    read = read_excel if table.suffix == ".xlsx" else read_csv
    found, rows = Files(folder), []
    for line, row in read(table, ["Image name", "MOS"]):
        path = _first(found, row["Image name"], ["TestImage", "512x384", "SPAQ zip/512x384"])
        rows.append((line, Record(path, number(row["MOS"], table, line), scale)))
    return kept(rows, table, every=every)


def _either(folder: Path, names: Sequence[str]) -> Path:
    """The first of these tables that is there; the first of all where none is, so that the error names it."""
    tables = [folder / name for name in names]
    return next((table for table in tables if table.is_file()), tables[0])


def _first(found: Files, name: str, folders: Sequence[str]) -> Path:
    """The image in the first of these folders that has it; where it should be in the first of all."""
    paths = [found.path(f"{folder}/{name}") for folder in folders]
    return next((path for path in paths if path.is_file()), paths[0])


def _three(name: str, table: Path, line: int) -> tuple[str, str, int]:
    """`I01_02_3.bmp` -> ("I01", "02", 3)."""
    parts = name.rsplit(".", 1)[0].split("_")
    if len(parts) != 3 or not parts[2].isdigit():
        raise DataError(f"{table}, line {line}: {name!r} is not REFERENCE_KIND_LEVEL")
    return parts[0], parts[1], int(parts[2])
