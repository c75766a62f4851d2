"""Readers of the data sets of photos, and of generated pictures, as they are; `readers` has the dictionary of all.

Each also reads the table that another toolbox brings in place of the release's own; docs/data.md lists them.
"""

from __future__ import annotations

from pathlib import Path

from noref.data.records import Record, Scale
from noref.data.reference_sets import meta
from noref.data.tables import (
    Files,
    either,
    kept,
    number,
    part,
    place,
    read_csv,
    read_excel,
    read_matlab,
    whole_number,
)
from noref.errors import DataError

LIVEC_TRAINING = tuple(f"t{i}.bmp" for i in range(1, 8))  # the first rows of the release's tables
LIVEC_TABLES = ("Data/AllImages_release.mat", *meta("LIVEChallenge"))
KONIQ10K_TABLES = (
    "koniq10k_distributions_sets.csv",
    "koniq10k_scores_and_distributions.csv",
    *meta("KonIQ10k"),
)
LIVEFB_TABLES = ("labels_image.csv", "database/labels_image.csv", *meta("FLIVE"))
LIVEFB_TRAINING = ("labels=640_padded.csv", "labels<=640_padded.csv")  # some systems cannot write the release's `<`
LIVEFB_TEST = ("labels640.csv", "labels>640.csv")
LIVEFB_META_PARTS = {"0": "training", "1": "validation", "2": "test"}
SPAQ_SCORES = "Annotations/MOS and Image attribute scores"
SPAQ_TABLES = (f"{SPAQ_SCORES}.xlsx", f"{SPAQ_SCORES}.csv", *meta("SPAQ"))
AGIQA3K_TABLES = ("data.csv",)
BID_TABLES = ("DatabaseGrades.xlsx", "DatabaseGrades.csv")
BID_COLUMNS = ("Image Number", "Average Subjective Grade")


def livec(folder: Path, *, every: bool = False) -> list[Record]:
    """LIVE In the Wild (CLIVE): 1162 photos, MOS 0-100, higher is better.

    Layout: `Images/`, `Data/AllImages_release.mat`, `Data/AllMOS_release.mat` (or the table of IQA-PyTorch). The first
    seven rows are the images on which the raters were trained; they belong to no split and are left out.

    Args:
        folder: where `Images` and `Data` lie.
        every: keep rows whose image is not on the disk.

    Raises:
        OptionError: no such folder.
        DataError: a table is missing, broken or not as long as the other, a score is no number, or no image is there.

    Source:
        Ghadiyaram and Bovik 2016, https://live.ece.utexas.edu/research/ChallengeDB/
    """
    folder, scale = place(folder), Scale(0, 100)
    table = either(folder, LIVEC_TABLES)
    scores = table if table.suffix == ".csv" else table.with_name("AllMOS_release.mat")
    if table.suffix == ".csv":
        lines = read_csv(table, ["img_name", "mos"])
        cells = [(line, row["img_name"], row["mos"]) for line, row in lines if row["img_name"] not in LIVEC_TRAINING]
    else:
        files, values = read_matlab(table, "AllImages_release"), read_matlab(scores, "AllMOS_release")
        if len(files) != len(values):
            raise DataError(f"{scores}: {len(values)} scores for the {len(files)} images of {table.name}")
        cells = [(row, str(name), str(value)) for row, (name, value) in enumerate(zip(files, values, strict=True), 1)]
        cells = cells[len(LIVEC_TRAINING) :]
    found = Files(folder / "Images")
    rows = [(row, Record(found.path(name), number(score, scores, row), scale)) for row, name, score in cells]
    return kept(rows, table, found, every=every)


def koniq10k(folder: Path, *, every: bool = False) -> list[Record]:
    """KonIQ-10k: 10073 photos, MOS 0-100, higher is better, official split 7058/1000/2015.

    Layout: `koniq10k_distributions_sets.csv` (has the split) or `koniq10k_scores_and_distributions.csv` (its column
    `MOS_zscore` is on the same scale; `MOS` there is 1-5) or the table of IQA-PyTorch (has the split), and the images
    in `1024x768/` or `512x384/`.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        OptionError: no such folder.
        DataError: the table is missing or broken, or no image is there.

    Source:
        Hosu et al. 2020, https://database.mmsp-kn.de/koniq-10k-database.html
    """
    folder, scale = place(folder), Scale(0, 100)
    table = either(folder, KONIQ10K_TABLES)
    image, score, split = {
        "koniq10k_distributions_sets.csv": ("image_name", "MOS", "set"),
        "koniq10k_scores_and_distributions.csv": ("image_name", "MOS_zscore", ""),
    }.get(table.name, ("img_name", "mos", "split"))
    found, rows = Files(folder), []
    for line, row in read_csv(table, [image, score]):
        path = found.first(row[image], ["1024x768", "512x384"])
        value, official = number(row[score], table, line), part(row.get(split, ""), table, line)
        rows.append((line, Record(path, value, scale, split=official)))
    return kept(rows, table, found, every=every)


def livefb(folder: Path, *, every: bool = False) -> list[Record]:
    """LIVEFB (FLIVE, PaQ-2-PiQ): 39810 photos, MOS 0-100, higher is better.

    Layout: `labels_image.csv`, and the images below `database/`; or everything in `database/`, or in the folder
    itself. The patches of the release are not read. The official split is read where both of its files lie beside
    `labels_image.csv`: `labels=640_padded.csv` (column `is_valid`: training or validation) and `labels640.csv`
    (test). An image in neither is `unused`. The table of IQA-PyTorch has the split too.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        OptionError: no such folder.
        DataError: a table is missing or broken, a split file names an unknown image or one twice, or no image is there.

    Source:
        Ying et al. 2020, https://github.com/baidut/PaQ-2-PiQ
    """
    folder, scale = place(folder), Scale(0, 100)
    table, found = either(folder, LIVEFB_TABLES), Files(folder)
    meta = table.name != "labels_image.csv"
    name, score = ("img_name/patch_name", "mos") if meta else ("name", "mos")
    cells = [(line, row) for line, row in read_csv(table, [name, score]) if not row[name].startswith("patches/")]
    parts = {} if meta else _livefb_parts(table, {row[name] for _, row in cells})
    rows = []
    for line, row in cells:
        path, value = found.first(row[name], ["database", "."]), number(row[score], table, line)
        official = _livefb_meta_part(row, table, line) if meta else parts.get(row[name], "unused" if parts else None)
        rows.append((line, Record(path, value, scale, split=official)))
    return kept(rows, table, found, every=every)


def livefb_split_files(table: Path) -> tuple[Path | None, Path | None]:
    """The two files of the official split beside `labels_image.csv`: training and validation, test; None: not there."""
    first, second = (either(table.parent, names) for names in (LIVEFB_TRAINING, LIVEFB_TEST))
    return (first if first.is_file() else None), (second if second.is_file() else None)


def _livefb_parts(table: Path, known: set[str]) -> dict[str, str]:
    """Image -> part of the official split; empty unless both of its files are there."""
    training, test = livefb_split_files(table)
    if training is None or test is None:
        return {}
    parts: dict[str, str] = {}
    for file, columns in ((training, ["name_image", "is_valid"]), (test, ["name_image"])):
        for line, row in read_csv(file, columns):
            name = row["name_image"]
            if name not in known or name in parts:
                why = "in the split already" if name in parts else f"not in {table.name}"
                raise DataError(f"{file}, line {line}: {name} is {why}")
            parts[name] = "test" if file == test else _validates(row["is_valid"], file, line)
    return parts


def _validates(text: str, file: Path, line: int) -> str:
    if text.casefold() not in ("true", "false"):
        raise DataError(f"{file}, line {line}: is_valid {text!r} is neither True nor False")
    return "validation" if text.casefold() == "true" else "training"


def _livefb_meta_part(row: dict[str, str], table: Path, line: int) -> str | None:
    text = row.get("split", "")
    if text and text not in LIVEFB_META_PARTS:
        raise DataError(f"{table}, line {line}: split {text!r} is none of {', '.join(LIVEFB_META_PARTS)}")
    return LIVEFB_META_PARTS.get(text)


def spaq(folder: Path, *, every: bool = False) -> list[Record]:
    """SPAQ: 11125 phone photos, MOS 0-100, higher is better.

    Layout: `Annotations/MOS and Image attribute scores.xlsx` (or the same as `.csv`, or the table of IQA-PyTorch), and
    the images in `TestImage/`, or shrunk in `512x384/` or `SPAQ zip/512x384/`.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        OptionError: no such folder.
        DataError: the table is missing or broken, or no image is there.
        MissingExtraError: the workbook needs openpyxl.

    Source:
        Fang et al. 2020, https://github.com/h4nwei/SPAQ
    """
    folder, scale = place(folder), Scale(0, 100)
    table = either(folder, SPAQ_TABLES)
    read = read_excel if table.suffix == ".xlsx" else read_csv
    found, rows = Files(folder), []
    for line, row in read(table, ["Image name", "MOS"]):
        path = found.first(row["Image name"], ["TestImage", "512x384", "SPAQ zip/512x384"])
        rows.append((line, Record(path, number(row["MOS"], table, line), scale)))
    return kept(rows, table, found, every=every)


def agiqa3k(folder: Path, *, every: bool = False) -> list[Record]:
    """AGIQA-3K: 2982 generated pictures, MOS of their quality 0-5, higher is better.

    Layout: `data.csv` with the columns `name` and `mos_quality` (`mos_align`, how well picture and prompt agree, is not
    read), and the pictures in `images/`, `Images/`, `AGIQA-3K/` or beside the table.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        OptionError: no such folder.
        DataError: the table is missing or broken, or no image is there.

    Source:
        Li et al. 2023, https://github.com/lcysyzxdxc/AGIQA-3k-Database
    """
    folder, scale = place(folder), Scale(0, 5)
    table, found, rows = folder / AGIQA3K_TABLES[0], Files(folder), []
    for line, row in read_csv(table, ["name", "mos_quality"]):
        path = found.first(row["name"], ["images", "Images", "AGIQA-3K", "."])
        rows.append((line, Record(path, number(row["mos_quality"], table, line), scale)))
    return kept(rows, table, found, every=every)


def bid(folder: Path, *, every: bool = False) -> list[Record]:
    """BID: 586 blurred photos, MOS 0-5, higher is better.

    Layout: `DatabaseGrades.xlsx` (or the same as `.csv`) with the columns `Image Number` and `Average Subjective
    Grade`, and the photos `DatabaseImage0001.JPG`... beside it or in `ImageDatabase/`.

    Args:
        folder: where these lie.
        every: keep rows whose image is not on the disk.

    Raises:
        OptionError: no such folder.
        DataError: the table is missing or broken, or no image is there.
        MissingExtraError: the workbook needs openpyxl.

    Source:
        Ciancio et al. 2011, No-reference blur assessment of digital pictures based on multifeature classifiers
    """
    folder, scale = place(folder), Scale(0, 5)
    table, found, rows = either(folder, BID_TABLES), Files(folder), []
    read = read_excel if table.suffix == ".xlsx" else read_csv
    for line, row in read(table, BID_COLUMNS):
        image, score = (row[column] for column in BID_COLUMNS)
        path = found.first(f"DatabaseImage{whole_number(image, table, line, 'image'):04d}.JPG", [".", "ImageDatabase"])
        rows.append((line, Record(path, number(score, table, line), scale)))
    return kept(rows, table, found, every=every)
