"""Tables as spreadsheets write them, against what the csv module and pandas make of the same cells."""

from __future__ import annotations

import csv
import io
import string
import unicodedata

import pandas
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from noref.data.own_table import parse_columns, read_own_table
from noref.errors import DataError, OptionError

slow = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=100)


@pytest.fixture
def table(tmp_path):
    """table(content, ...) -> the table of that content, text or bytes."""

    def read(content, required=("path", "score"), **options):
        file = tmp_path / "t.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_own_table(file, required, ["reference"], **options)

    return read


WANTED = [{"path": "a.jpg", "score": "3.5"}, {"path": "b c.jpg", "score": "4"}]


@pytest.mark.parametrize(
    "content",
    [
        "path,score\na.jpg,3.5\nb c.jpg,4\n",
        "path;score\r\na.jpg;3.5\r\nb c.jpg;4\r\n",
        "path\tscore\ra.jpg\t3.5\rb c.jpg\t4",
        "path | score\na.jpg | 3.5\nb c.jpg | 4\n",
        "sep=;\npath;score\na.jpg;3.5\nb c.jpg;4\n",
        '"sep=|"\r\npath|score\r\na.jpg|3.5\r\nb c.jpg|4\r\n',
        "\ufeffpath;score;;\na.jpg;3.5;;\n;;;\nb c.jpg;4;;\n;;;\n",
        "\ufeffpath;score\na.jpg;3.5;;\nb c.jpg;4\n\n",
        "Path,SCORE\na.jpg,3.5\nb c.jpg,4\n",
        ",path,score\n0,a.jpg,3.5\n1,b c.jpg,4\n",
        "note,score,image\n,3.5,a.jpg\nx,4,b c.jpg\n",
        "path;mean, of ten;score\na.jpg;1,5;3.5\nb c.jpg;2,5;4\n",
        "path;score\na.jpg;3.5\nb c.jpg;4\n".encode("utf-16"),
        "path\tscore\na.jpg\t3.5\nb c.jpg\t4\n".encode("utf-16"),
    ],
)
def test_the_same_table_in_every_form(table, content):
    assert [row for _, row in table(content).rows] == WANTED


def test_lines_are_those_of_the_file(table):
    assert [line for line, _ in table("sep=;\n\npath;score\na;1\n\n;\nb;2").rows] == [4, 7]


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("path;score\na;3,5\nb;4\nc;-,25\n", [3.5, 4, -0.25]),
        ("path;score\na;1,250\nb;2,125\n", [1.25, 2.125]),
        ('path,score\na,"3,5"\nb,"4,25"\n', [3.5, 4.25]),
        ("path\tscore\na\t0,125\nb\t10,5\n", [0.125, 10.5]),
        ("path,score\na,1e-1\nb,+7.\nc,.5\n", [0.1, 7, 0.5]),
    ],
)
def test_decimal_commas(table, content, values):
    assert table(content).numbers() == values


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("path;score\na;3,5\nb;4.5\n", r"line 2: score '3,5' has a decimal comma, '4\.5' in line 3 a decimal point"),
        ('path,score\na,"1,250"\nb,"2,125"\n', r"line 2: score '1,250': its comma may be a decimal comma or part the"),
        ("path\tscore\na\t1,250\nb\t2\n", r"line 2: score '1,250': its comma may be"),
        ("path;score\na;1.250,5\n", r"line 2: score '1\.250,5' is no number"),
        ("path,score\na,\n", r"line 2: score '' is no number"),
        ("path,score\na,03. Mai\n", r"line 2: score '03\. Mai' is no number"),
        ("path,score\na,1_0\n", "is no number"),
        ("path,score\na,٣\n", "is no number"),
        ("path,score\na,nan\n", "is no number"),
        ("path,score\na,1e999\n", "is no number"),
        ("path,score\na,50 %\n", "is no number"),
    ],
)
def test_what_is_no_number_is_named(table, content, reason):
    with pytest.raises(DataError, match=r"t\.csv, " if reason[0] == "l" else reason) as caught:
        table(content).numbers()
    caught.match(reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", r"line 1: column path and score missing; the file has nothing"),
        ("sep=;", r"line 2: column path and score missing"),
        (
            "filename;mos\na;1\n",
            r"the file has filename, mos; --columns image=NAME,score=NAME says what they are called",
        ),
        ("path,score,score\na,1,2\n", r"line 1: column score is there twice"),
        ("path,score\na,1\nb,2,3\n", r"line 3: 3 cells, the header names 2"),
        ("path,score\na\n", r"line 2: 1 cells, the header names 2"),
        ('path,score\n"a,1\n', r"line 2: unexpected end"),
        ("path,score\na\0,1\n", r"line 2: no text, there is a NUL"),
        (b"path,score\na,1\n\xff\x81,2\n", r"line 3: not UTF-8 text; save the table as UTF-8"),
        (b"PK\x03\x04rest", r"an Excel workbook"),
        ("path,score\n", r"no rows"),
    ],
)
def test_a_broken_table_names_file_line_and_reason(table, content, reason):
    with pytest.raises(DataError, match=r"t\.csv.*" + reason):
        table(content)


def test_columns_by_other_names(table):
    content = 'Datei;"MOS, mean";scene\na;1;x\n'
    names = parse_columns('image=Datei, "score=MOS, mean",group=scene')
    assert names == {"path": "Datei", "score": "MOS, mean", "reference": "scene"}
    assert table(content, columns=names).rows == [(2, {"path": "a", "score": "1", "reference": "x"})]
    with pytest.raises(OptionError, match=r"level is not read here; path, score, reference are"):
        table(content, columns={"level": "scene"})
    with pytest.raises(OptionError, match=r"t\.csv has no column 'mos'; it has Datei, MOS, mean, scene"):
        table(content, columns={"path": "Datei", "score": "mos"})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("filename", "write image=NAME,score=NAME"),
        ("", "write image=NAME"),
        ("image=", "write image=NAME"),
        ("scroe=mos", "did you mean score"),
        ("image=a,path=b", "path is there twice"),
    ],
)
def test_column_names_that_make_no_sense(text, reason):
    with pytest.raises(OptionError, match=reason):
        parse_columns(text)


def test_images_are_found_by_what_their_names_mean(table, tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Müller café") for form in ("NFC", "NFD"))
    for name in (f"{decomposed}/{composed}.jpg", "IMG_1.JPG", "sub/deep/x.png", "odd\\name.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = [f"{composed}\\{decomposed}.jpg", "./img_1.jpg", "sub\\DEEP\\x.png", "odd\\name.png"]
    found = table("path,score\n" + "".join(f"{name},1\n" for name in names)).images()
    wanted = [f"{decomposed}/{composed}.jpg", "IMG_1.JPG", "sub/deep/x.png", "odd\\name.png"]
    assert found == [tmp_path / name for name in wanted]


def test_two_files_that_differ_in_spelling_alone_are_not_confused(table, tmp_path):
    for form in ("NFC", "NFD"):
        (tmp_path / unicodedata.normalize(form, "é.png")).touch()
    (tmp_path / "a.png").touch()
    (tmp_path / "A.png").touch()
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "é.png")
        assert table(f"path,score\n{name},1\n").images() == [tmp_path / name]
    with pytest.raises(DataError, match=r"line 2: no image 'A\.PNG' in "):
        table("path,score\nA.PNG,1\n").images()


def test_an_image_that_is_missing_or_there_twice_is_named(table, tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"t\.csv, line 3: no image 'b\.png' in "):
        table("path,score\na.png,1\nb.png,2\n").images()
    assert table("path,score\na.png,1\nb.png,2\n").images(every=True) == [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(DataError, match=r"line 3: a\.png is there already, in line 2; one row an image"):
        table("path,score\na.png,1\n.\\A.png,2\n").images()
    with pytest.raises(DataError, match=r"line 2: no image is named"):
        table("path,score\n,1\n").images(every=True)
    (tmp_path / "folder.png").mkdir()
    for name in ("folder.png", "x" * 5000, "C:\\photos\\a.png"):
        with pytest.raises(DataError, match=r"line 2: no image '"):
            table(f"path,score\n{name},1\n").images()


def test_images_may_lie_in_a_folder_of_their_own(table, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    assert table("path,score\na.png,1\n", images=tmp_path / "photos").images() == [tmp_path / "photos" / "a.png"]


def test_windows_bytes_are_read_where_the_images_prove_it(table, tmp_path):
    (tmp_path / "Müller.jpg").touch()
    content = "path;score\nMüller.jpg;3,5\n".encode("cp1252")
    assert (table(content).images(), table(content).encoding) == ([tmp_path / "Müller.jpg"], "cp1252")
    mac = "path;score\nMüller.jpg;3,5\n".encode("mac_roman")
    for every in (False, True):
        with pytest.raises(DataError, match=r"line 2: not UTF-8 text; read as Windows-1252, '.*' is no image; save"):
            table(mac).images(every=every)


names = st.text(string.printable + "äé日", min_size=1).filter(str.strip)
scores = st.floats(-1e6, 1e6).map(repr)


@slow
@given(st.lists(st.tuples(names, scores), min_size=1), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]))
def test_every_cell_is_as_the_csv_module_reads_it(tmp_path_factory, cells, delimiter, end):
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if any("\r" in name for name, _ in cells) else csv.QUOTE_MINIMAL  # a bare one ends a row
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([("path", "score"), *cells])
    file = tmp_path_factory.mktemp("t") / "t.csv"
    file.write_bytes(text.getvalue().encode())
    found = read_own_table(file, ["path", "score"])
    reader = csv.DictReader(io.StringIO(text.getvalue(), newline=""), delimiter=delimiter)
    assert [row["path"] for _, row in found.rows] == [row["path"].strip() for row in reader]
    assert found.numbers() == [float(score) for _, score in cells]
    assert found.delimiter == delimiter


@slow
@given(
    st.lists(st.floats(-1000, 1000).map(lambda value: round(value, 4)), min_size=1),
    st.sampled_from(",;\t"),
    st.sampled_from(".,"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.booleans(),
)
def test_numbers_are_as_pandas_reads_them(tmp_path_factory, values, delimiter, decimal, encoding, index):
    file = tmp_path_factory.mktemp("t") / "t.csv"
    frame = pandas.DataFrame({"path": [f"{i}.png" for i in range(len(values))], "score": values})
    frame.to_csv(file, sep=delimiter, decimal=decimal, encoding=encoding, index=index)
    again = pandas.read_csv(file, sep=delimiter, decimal=decimal, encoding=encoding)
    found = read_own_table(file, ["path", "score"])
    assume(decimal == "." or delimiter == ";" or not all(len(f"{v}".rpartition(".")[2]) == 3 for v in values))
    assert found.numbers() == again["score"].tolist()
