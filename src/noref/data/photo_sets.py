"""Rows of the data sets of photos, and of generated pictures, as they are; `readers` has the dictionary of all.

Each also reads the tables that other toolboxes bring in place of the release's own; docs/data.md has all layouts.
"""

from __future__ import annotations

from pathlib import Path

from noref.data.records import Record, Scale
from noref.data.release import Rows, meta
from noref.data.tables import Files, first_table, number, read_csv, read_matlab, read_sheet, split_part, whole_number
from noref.errors import DataError

LIVEC_TRAINING = tuple(f"t{i}.bmp" for i in range(1, 8))  # the first rows of the release's tables
LIVEC_TABLES = ("Data/AllImages_release.mat", *meta("LIVEChallenge"))
LIVEC_SCORES = "Data/AllMOS_release.mat"
KONIQ10K_COLUMNS = {  # table -> image, score, part of the official split
    "koniq10k_distributions_sets.csv": ("image_name", "MOS", "set"),
    "koniq10k_scores_and_distributions.csv": ("image_name", "MOS_zscore", ""),
}
KONIQ10K_TABLES = (*KONIQ10K_COLUMNS, *meta("KonIQ10k"))
LIVEFB_TABLES = ("labels_image.csv", "database/labels_image.csv", *meta("FLIVE"))
LIVEFB_TRAINING = ("labels=640_padded.csv", "labels<=640_padded.csv")  # some systems cannot write the release's `<`
LIVEFB_TEST = ("labels640.csv", "labels>640.csv")
LIVEFB_SPLIT = tuple(f"{folder}{name}" for folder in ("", "database/") for name in LIVEFB_TRAINING + LIVEFB_TEST)
LIVEFB_META_PARTS = {"0": "training", "1": "validation", "2": "test"}
SPAQ_SCORES = "Annotations/MOS and Image attribute scores"
SPAQ_TABLES = (f"{SPAQ_SCORES}.xlsx", f"{SPAQ_SCORES}.csv", *meta("SPAQ"))
AGIQA3K_TABLES = ("data.csv",)
BID_TABLES = ("DatabaseGrades.xlsx", "DatabaseGrades.csv")
BID_COLUMNS = ("Image Number", "Average Subjective Grade")


def livec(table: Path, found: Files, scale: Scale) -> Rows:
    """LIVE In the Wild (CLIVE): without the first seven rows, the images on which the raters were trained.

    Source:
        Ghadiyaram and Bovik 2016, https://live.ece.utexas.edu/research/ChallengeDB/
    """
    if table.suffix == ".csv":
        scores, rows = table, read_csv(table, ["img_name", "mos"])
        cells = [(line, row["img_name"], row["mos"]) for line, row in rows if row["img_name"] not in LIVEC_TRAINING]
    else:
        scores = found.folder / LIVEC_SCORES
        files, values = read_matlab(table, "AllImages_release"), read_matlab(scores, "AllMOS_release")
        if len(files) != len(values):
            raise DataError(f"{scores}: {len(values)} scores for the {len(files)} images of {table.name}")
        cells = [(row, str(name), str(value)) for row, (name, value) in enumerate(zip(files, values, strict=True), 1)]
        cells = cells[len(LIVEC_TRAINING) :]
    for line, name, score in cells:
        yield line, Record(found.path(f"Images/{name}"), number(score, scores, line), scale)


def koniq10k(table: Path, found: Files, scale: Scale) -> Rows:
    """KonIQ-10k: in the table without the split, `MOS_zscore` is the column on 0-100; `MOS` there is 1-5.

    Source:
        Hosu et al. 2020, https://database.mmsp-kn.de/koniq-10k-database.html
    """
    image, score, split = KONIQ10K_COLUMNS.get(table.name, ("img_name", "mos", "split"))
    for line, row in read_csv(table, [image, score]):
        path, value = found.first(row[image], ["1024x768", "512x384"]), number(row[score], table, line)
        yield line, Record(path, value, scale, split=split_part(row.get(split, ""), table, line))


def livefb(table: Path, found: Files, scale: Scale) -> Rows:
    """LIVEFB (FLIVE, PaQ-2-PiQ): whole images; the patches are not read.

    The official split is read where both of its files lie beside `labels_image.csv`: `labels=640_padded.csv` (column
    `is_valid`: training or validation) and `labels640.csv` (test). An image in neither is `unused`.

    Source:
        Ying et al. 2020, https://github.com/baidut/PaQ-2-PiQ
    """
    released = table.name == "labels_image.csv"
    name, score = ("name", "mos") if released else ("img_name/patch_name", "mos")
    cells = [(line, row) for line, row in read_csv(table, [name, score]) if not row[name].startswith("patches/")]
    parts = _livefb_parts(table, {row[name] for _, row in cells}) if released else {}
    for line, row in cells:
        path, value = found.first(row[name], ["database", "."]), number(row[score], table, line)
        part = split_part(row.get("split", ""), table, line, LIVEFB_META_PARTS) if not released else None
        yield line, Record(path, value, scale, split=parts.get(row[name], "unused") if parts else part)


def livefb_half_split(folder: Path) -> Path | None:
    """The one of the two files of the official split that lies there without the other."""
    files = _livefb_split_files(first_table(folder, LIVEFB_TABLES))
    return files[0] if len(files) == 1 else None


def _livefb_split_files(table: Path) -> list[Path]:
    """Those files of the split that lie beside `labels_image.csv`: training and validation, test."""
    files = [first_table(table.parent, names) for names in (LIVEFB_TRAINING, LIVEFB_TEST)]
    return [file for file in files if file.is_file()]


def _livefb_parts(table: Path, known: set[str]) -> dict[str, str]:
    """Image -> part of the official split; empty unless both of its files are there."""
    files, parts = _livefb_split_files(table), dict[str, str]()
    for file in files if len(files) == 2 else []:
        test = file.name in LIVEFB_TEST
        for line, row in read_csv(file, ["name_image"] if test else ["name_image", "is_valid"]):
            name, valid = row["name_image"], row.get("is_valid", "").casefold()
            if name not in known or name in parts:
                why = "in the split already" if name in parts else f"not in {table.name}"
                raise DataError(f"{file}, line {line}: {name} is {why}")
            if not test and valid not in ("true", "false"):
                raise DataError(f"{file}, line {line}: is_valid {row['is_valid']!r} is neither True nor False")
            parts[name] = "test" if test else "validation" if valid == "true" else "training"
    return parts


def spaq(table: Path, found: Files, scale: Scale) -> Rows:
    """SPAQ: phone photos, as released or shrunk.

    Source:
        Fang et al. 2020, https://github.com/h4nwei/SPAQ
    """
    for line, row in read_sheet(table, ["Image name", "MOS"]):
        path = found.first(row["Image name"], ["TestImage", "512x384", "SPAQ zip/512x384"])
        yield line, Record(path, number(row["MOS"], table, line), scale)


def agiqa3k(table: Path, found: Files, scale: Scale) -> Rows:
    """AGIQA-3K: generated pictures; `mos_align`, how well picture and prompt agree, is not read.

    Source:
        Li et al. 2023, https://github.com/lcysyzxdxc/AGIQA-3k-Database
    """
    for line, row in read_csv(table, ["name", "mos_quality"]):
        path = found.first(row["name"], ["images", "Images", "AGIQA-3K", "."])
        yield line, Record(path, number(row["mos_quality"], table, line), scale)


def bid(table: Path, found: Files, scale: Scale) -> Rows:
    """BID: blurred photos, `DatabaseImage0001.JPG` and so on; the table has their numbers.

    Source:
        Ciancio et al. 2011, No-reference blur assessment of digital pictures based on multifeature classifiers
    """
    for line, row in read_sheet(table, BID_COLUMNS):
        image, score = (row[column] for column in BID_COLUMNS)
        path = found.first(f"DatabaseImage{whole_number(image, table, line, 'image'):04d}.JPG", [".", "ImageDatabase"])
        yield line, Record(path, number(score, table, line), scale)
