"""The table of a batch, without Ray: what is refused, what stays after a kill, in which order; and what is found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noref.card import Card, Preprocessing, Scale
from noref.errors import OptionError
from noref.scoring.find_images import file_stamp
from noref.scoring.row_writers import COLUMNS, Row
from noref.serve.batch import row_schema, row_table
from noref.serve.batch_inputs import find_batch
from noref.serve.batch_output import Output
from noref.serve.batch_tables import ReadRows, picture_column, unit_table

pa = pytest.importorskip("pyarrow", reason="needs the ray extra")
pq = pytest.importorskip("pyarrow.parquet")

CARD = Card("ours", "by hand", Scale(0, 100), Preprocessing(), sha256="ab" * 32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("d/below").mkdir(parents=True)
    for name in ("b", "a", "c", "below/e"):
        Image.new("RGB", (30, 20)).save(f"d/{name}.png")
    return tmp_path


def row(path, score=1.0, error=None, model="ours", sha256=CARD.sha256):
    return Row(path, score, error, model, sha256, *file_stamp(path))


def begin(out="rows.parquet", **options):
    return Output(out, **options)


def add(output, *rows):
    output.add(row_table(rows))
    output.flush()


def paths(where):
    return [each["path"] for each in pq.read_table(where).to_pylist()]


def test_one_file_in_the_order_of_the_inputs(folder):
    batch, output = find_batch(["d"]), begin()
    add(output, row("d/c.png"), row("d/a.png"))
    add(output, row("d/b.png"))
    assert len(list(Path("rows.parquet.parts").iterdir())) == 2
    output.finish(batch)
    assert sorted(os.listdir()) == ["d", "rows.parquet"]
    assert paths("rows.parquet") == ["d/a.png", "d/b.png", "d/c.png"]
    assert pq.read_table("rows.parquet").column_names == row_schema().names


def test_a_folder_keeps_its_parts(folder):
    batch, output = find_batch(["d"]), begin("parts")
    add(output, row("d/c.png"), row("d/a.png"))
    add(output, row("d/b.png"))
    output.finish(batch)
    assert len(os.listdir("parts")) == 2
    assert sorted(paths("parts")) == ["d/a.png", "d/b.png", "d/c.png"]


def test_rows_wait_longer_in_a_long_run(folder, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("noref.serve.batch_output.time.monotonic", lambda: clock[0])
    output = begin()
    written = []
    for clock[0] in np.arange(0, 3000, 1.0):
        output.add(row_table([row("d/a.png")]))
        if len(os.listdir("rows.parquet.parts")) > len(written):
            written.append(clock[0])
    gaps = np.diff([0, *written])
    assert gaps[0] == 3  # the first second after two seconds
    assert gaps.max() == 61
    assert (gaps <= np.maximum(2, 0.05 * np.array(written)) + 1).all()


@pytest.mark.parametrize("out", ["rows.parquet", "parts"])
def test_resume_keeps_what_is_still_true(folder, out):
    Image.new("RGB", (30, 20)).save("other.png")
    output = begin(out)
    other = row("other.png", 9.0)
    add(output, row("d/a.png", 1.0), row("d/b.png", None, "broken"), other, row("d/gone.png", 3.0))
    add(output, row("d/c.png", 2.0))
    if out == "rows.parquet":
        output.finish(find_batch(["d"]))
    os.utime("d/c.png", ns=(0, 1))
    batch, output = find_batch(["d"]), begin(out, resume=True)
    items, kept = output.keep(batch, CARD)
    assert (items.tolist(), [each["path"] for each in kept.to_pylist()]) == ([0], ["d/a.png"])
    if out == "parts":  # never two rows of a file, at no moment
        assert sorted(paths(out)) == ["d/a.png", "other.png"]
    add(output, row("d/c.png", 5.0), row("d/b.png", 6.0))
    killed = begin(out, resume=True).keep(batch, CARD)[0]  # before it was finished
    assert killed.tolist() == [0, 1, 2]
    output.finish(batch)
    found = pq.read_table(out).to_pylist()
    expected = [("other.png", 9.0), ("d/a.png", 1.0), ("d/b.png", 6.0), ("d/c.png", 5.0)]
    found = [(each["path"], each["score"]) for each in found]
    assert (found if out == "rows.parquet" else sorted(found)) == (
        expected if out == "rows.parquet" else sorted(expected)
    )


def test_a_run_killed_while_it_finished(folder):
    """The file is there, and the parts are not yet gone."""
    batch, output = find_batch(["d"]), begin()
    add(output, row("d/a.png", 1.0), row("d/b.png", 2.0))
    part = next(Path("rows.parquet.parts").iterdir())
    content = part.read_bytes()
    output.finish(batch)
    Path("rows.parquet.parts").mkdir()
    part.write_bytes(content)
    output = begin(resume=True)
    assert output.keep(batch, CARD)[0].tolist() == [0, 1]
    add(output, row("d/c.png", 3.0))
    output.finish(batch)
    assert paths("rows.parquet") == ["d/a.png", "d/b.png", "d/c.png"]


def test_strict_scores_damaged_files_again(folder):
    output = begin()
    cautions = {
        "a": None,
        "b": "the JPEG is cut: a part of the picture is missing",
        "c": "broken colour profile ignored",
    }
    for name, caution in cautions.items():
        path = f"d/{name}.png"
        add(output, Row(path, 1.0, None, "ours", CARD.sha256, *file_stamp(path), caution))
    batch = find_batch(["d"])
    assert begin(resume=True).keep(batch, CARD)[0].tolist() == [0, 1, 2]
    assert begin(resume=True).keep(batch, CARD, strict=True)[0].tolist() == [0, 2]


def test_a_table_of_a_version_with_fewer_columns_at_the_end(folder):
    add(begin(), row("d/a.png"))
    part = next(Path("rows.parquet.parts").iterdir())
    table = pq.read_table(part)
    pq.write_table(table.select(list(COLUMNS)), part)
    batch = find_batch(["d"])
    output = begin(resume=True)
    assert output.keep(batch, CARD)[0].tolist() == [0]
    output.finish(batch)
    assert pq.read_table("rows.parquet").column_names == row_schema().names


@pytest.mark.parametrize(
    ("out", "options", "hint"),
    [
        ("rows.csv", {}, "csv is not written"),
        ("notes.parquet", {"overwrite": True}, "not written by noref"),
        ("notes", {"overwrite": True}, "holds precious.txt, which noref did not write"),
        ("rows.parquet", {}, "--resume goes on with it, --overwrite replaces it"),
        ("begun.parquet", {}, "an earlier run did not finish"),
        ("d/a.png", {}, "is a file; give FILE.parquet"),
        ("missing/rows.parquet", {}, "cannot be written"),
        ("in.parquet", {"inputs": ["in.parquet"], "overwrite": True}, "one of the inputs"),
        ("shards", {"inputs": ["shards/0.parquet"], "overwrite": True}, "one of the inputs"),
        ("nonsense://rows.parquet", {}, "cannot be written"),
    ],
)
def test_outputs_that_are_refused(folder, out, options, hint):
    batch = find_batch(["d"])
    output = begin()
    add(output, row("d/a.png"))
    output.finish(batch)
    add(begin("begun.parquet"), row("d/a.png"))
    foreign = pa.table({"path": ["a"], "score": [1.0]})
    for name in ("notes.parquet", "in.parquet"):
        pq.write_table(foreign, name)
    for name in ("notes", "shards"):
        Path(name).mkdir()
    Path("notes/precious.txt").write_text("precious")
    pq.write_table(foreign, "shards/0.parquet")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    with pytest.raises(OptionError, match=hint):
        begin(out, **options)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_another_model_is_refused_and_nothing_is_touched(folder):
    add(begin(), row("d/a.png", sha256="cd" * 32, model="theirs"), row("d/b.png"))
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    with pytest.raises(OptionError, match="was scored by theirs, sha256 cdcdcdcdcdcd"):
        begin(resume=True).keep(find_batch(["d"]), CARD)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_run_that_never_began_leaves_nothing(folder):
    assert not begin().leave()
    assert os.listdir() == ["d"]
    output = begin()
    output.add(row_table([row("d/a.png")]))
    assert output.leave()
    assert paths("rows.parquet.parts") == ["d/a.png"]


def test_overwrite_begins_again(folder):
    batch, output = find_batch(["d"]), begin()
    add(output, row("d/a.png"))
    output.finish(batch)
    output = begin(overwrite=True)
    add(output, row("d/b.png"))
    output.finish(batch)
    assert paths("rows.parquet") == ["d/b.png"]


def found(*inputs, **options):
    batch = find_batch(inputs, **options)
    return [(each["path"], each["error"]) for each in batch.pictures.to_pylist()]


def test_folders_here_and_at_an_address_are_the_same(folder):
    Path("d/.hidden.png").write_bytes(b"")
    Path("d/notes.txt").write_bytes(b"")
    names = ["a.png", "b.png", "c.png"]
    root = f"file://{folder}/d"
    assert found("d") == [(f"d/{name}", None) for name in names]
    assert found(root) == [(f"{root}/{name}", None) for name in names]
    deep = [f"{root}/{name}" for name in ["a.png", "b.png", "below/e.png", "c.png"]]
    assert found(root, recursive=True) == [(path, None) for path in deep]
    assert found("d", "d/a.png", "d") == [(f"d/{name}", None) for name in names]
    assert found(f"{root}/notes.txt") == [(f"{root}/notes.txt", None)]  # a file that is named is taken
    stamps = find_batch([root]).pictures.to_pylist()[0]
    assert (stamps["size"], stamps["time"]) == file_stamp("d/a.png")


def test_inputs_that_give_nothing(folder):
    Path("empty").mkdir()
    Path("bad.parquet").write_bytes(b"PAR1 no")
    given = ["empty", f"file://{folder}/empty", f"file://{folder}/gone", "bad.parquet", "https://example.org/a.png"]
    errors = [error for _, error in found(*given)]
    assert errors[0] == "no image in this folder"
    assert errors[1] == "no image in this folder; try --recursive"
    assert errors[2] == "No such file or directory"
    assert errors[3].startswith("not a Parquet file that can be read")
    assert errors[4] == "URLs are not fetched; download it first"


def test_a_folder_of_tables_is_read_and_its_hidden_files_are_not(folder):
    Path("t/_log").mkdir(parents=True)
    table = pa.table({"image": pa.array([b"x", b"y", b"z"], pa.binary())})
    for name in ("1", "0", ".tmp", "_log/2", "_meta"):
        pq.write_table(table, f"t/{name}.parquet", row_group_size=2)
    expected = [f"t/{name}.parquet#{number}" for name in "01" for number in range(3)]
    assert [path for path, _ in found("t", recursive=True)] == expected
    assert [path for path, _ in found(f"file://{folder}/t")] == [f"file://{folder}/{path}" for path in expected]


def test_rows_of_a_table_are_read_by_their_numbers(folder):
    Path("a.png").write_bytes(b"")
    table = pa.table({"image": pa.array([bytes([number]) for number in range(100)], pa.binary())})
    pq.write_table(table, "t.parquet", row_group_size=40)
    batch = find_batch(["a.png", "t.parquet"])
    assert [(group.number, group.first, group.rows) for group in batch.groups] == [(0, 1, 40), (1, 41, 40), (2, 81, 20)]
    units = pa.concat_tables([unit_table(batch.groups[0], [1, 40]), unit_table(batch.groups[2], [81, 99, 100])])
    parts = pa.concat_tables(ReadRows({})(units)).to_pylist()
    assert [(part["item"], part["bytes"][0]) for part in parts] == [(1, 0), (40, 39), (81, 80), (99, 98), (100, 99)]


BYTES, STRUCT = pa.binary(), pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])


@pytest.mark.parametrize(
    ("columns", "wanted", "taken"),
    [
        ({"path": pa.string(), "blob": BYTES}, None, "blob"),
        ({"blob": BYTES, "thumb": BYTES, "image": STRUCT}, None, "image"),
        ({"label": pa.int64(), "where": pa.large_string()}, None, "where"),
        ({"caption": pa.string(), "file_name": pa.string()}, None, "file_name"),
        ({"path": pa.string(), "blob": BYTES}, "path", "path"),
        ({"blob": BYTES, "thumb": BYTES}, None, "may be in blob, thumb: name the column with --column"),
        ({"a": pa.string(), "b": pa.string()}, None, "may be in a, b"),
        ({"a": pa.int64()}, None, "no column with pictures or their paths; it has a"),
        ({"path": pa.string()}, "pth", "did you mean path"),
        ({"a": pa.int64()}, "a", "column a is int64, not text, bytes or a struct with bytes"),
    ],
)
def test_the_column_of_a_table(columns, wanted, taken):
    schema = pa.schema(list(columns.items()))
    if taken in columns:
        assert picture_column(schema, wanted, "t.parquet") == taken
        return
    with pytest.raises(OptionError, match=f"^t.parquet: .*{taken}"):
        picture_column(schema, wanted, "t.parquet")
