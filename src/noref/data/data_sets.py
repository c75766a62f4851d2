"""The rows of each data set, one function each; `readers` has the dictionary of them all.

Each also reads the tables that other toolboxes bring in place of the release's own; docs/data.md has all layouts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from noref.data import tables
from noref.data.records import Record, Scale
from noref.data.release import Rows, meta
from noref.data.tables import Files, first_table, number, read_cells, read_csv, read_matlab, read_sheet, split_part
from noref.errors import DataError

# *_TABLES: where the table of a release may lie; the first one that is there is read
LIVE_COUNTS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
LIVE_TABLES = ("dmos_realigned.mat", "LIVE.txt")
LIVE_ORIGINAL_TABLES = ("dmos.mat", *meta("LIVEIQA"))
LIVE_COLUMNS = {".txt": ("dis_img_path", "score", "ref_img_path"), ".csv": ("dist_name", "mos", "ref_name")}
CSIQ_TABLES = ("csiq_label.txt", "csiq.DMOS.xlsx", "CSIQ.txt", *meta("CSIQ"))
CSIQ_KINDS = {"noise": "AWGN", "blur": "BLUR", "jpeg": "JPEG", "jpeg 2000": "jpeg2000"}  # workbook -> file name
TID2013_TABLES = ("mos_with_names.txt", *meta("TID2013"))
KADID10K_TABLES = ("dmos.csv", "kadid10k_label.txt", *meta("KADID10k"))
LIVEC_TABLES = ("Data/AllImages_release.mat", *meta("LIVEChallenge"))
LIVEC_TRAINING = tuple(f"t{i}.bmp" for i in range(1, 8))  # the first rows of the release's tables
KONIQ10K_COLUMNS = {  # table -> image, score, part of the official split
    "koniq10k_distributions_sets.csv": ("image_name", "MOS", "set"),
    "koniq10k_scores_and_distributions.csv": ("image_name", "MOS_zscore", ""),
}
KONIQ10K_TABLES = (*KONIQ10K_COLUMNS, *meta("KonIQ10k"))
LIVEFB_TABLES = ("labels_image.csv", "database/labels_image.csv", *meta("FLIVE"))
LIVEFB_TRAINING = ("labels=640_padded.csv", "labels<=640_padded.csv")  # some systems cannot write the release's `<`
LIVEFB_TEST = ("labels640.csv", "labels>640.csv")
LIVEFB_META_PARTS = {"0": "training", "1": "validation", "2": "test"}
SPAQ_SCORES = "Annotations/MOS and Image attribute scores"
SPAQ_TABLES = (f"{SPAQ_SCORES}.xlsx", f"{SPAQ_SCORES}.csv", *meta("SPAQ"))
AGIQA3K_TABLES = ("data.csv",)
BID_TABLES = ("DatabaseGrades.xlsx", "DatabaseGrades.csv")
BID_COLUMNS = ("Image Number", "Average Subjective Grade")


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
        for line, row in read_sheet(table, ["image", "dst_type", "dst_lev", "dmos"], sheet="all_by_image"):
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
    yield from _records_by_name(cells, table, found, scale, ["distorted_images"], ".BMP")


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
    yield from _records_by_name(cells, table, found, scale, ["images", "distorted_images"], ".png")


def _records_by_name(
    cells: Sequence[tuple[int, str, str]], table: Path, found: Files, scale: Scale, folders: list[str], suffix: str
) -> Rows:
    """Rows of line, image and score; `i01_02_3.bmp` is of reference I01, kind 02 and level 3."""
    for line, name, score in cells:
        parts = name.rsplit(".", 1)[0].split("_")
        if len(parts) != 3 or not parts[2].isdigit():
            raise DataError(f"{table}, line {line}: {name!r} is not REFERENCE_KIND_LEVEL")
        path, value = found.first(name, folders), number(score, table, line)
        yield line, Record(path, value, scale, f"{parts[0].upper()}{suffix}", parts[1], int(parts[2]))


def livec(table: Path, found: Files, scale: Scale) -> Rows:
    """LIVE In the Wild (CLIVE): without the first seven rows, the images on which the raters were trained.

    Source:
        Ghadiyaram and Bovik 2016, https://live.ece.utexas.edu/research/ChallengeDB/
    """
    if table.suffix == ".csv":
        scores, rows = table, read_csv(table, ["img_name", "mos"])
        cells = [(line, row["img_name"], row["mos"]) for line, row in rows if row["img_name"] not in LIVEC_TRAINING]
    else:
        scores = table.with_name("AllMOS_release.mat")
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
        place = tables.whole_number(image, table, line, "image")
        path = found.first(f"DatabaseImage{place:04d}.JPG", [".", "ImageDatabase"])
        yield line, Record(path, number(score, table, line), scale)
