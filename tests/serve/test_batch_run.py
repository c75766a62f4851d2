"""`noref batch` on Ray: one small cluster of two node processes for all tests."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from noref.cli import run
from noref.scoring.row_writers import COLUMNS
from noref.serve import batch_output
from noref.serve.batch import ScoreBatch
from noref.serve.batch_cluster import load_ray
from noref.serve.batch_run import score_batches

pa = pytest.importorskip("pyarrow", reason="needs the ray extra")
pytest.importorskip("ray", reason="needs the ray extra")

ray = load_ray()
pq = pytest.importorskip("pyarrow.parquet")
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
PAGE = (Path(__file__).parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")


class Slow(ScoreBatch):
    """Takes its time, so that there is a middle."""

    def __call__(self, batch):
        time.sleep(0.02 * len(batch))
        return super().__call__(batch)


class Dying(ScoreBatch):
    """Its process dies of a picture named poison; and once, of one named fragile."""

    def __call__(self, batch):
        names = [os.fsdecode(name) for name in batch["file"].to_pylist()] if "file" in batch.column_names else []
        for name in names:
            mark = f"{name}.tried"
            if "poison" in name or ("fragile" in name and not os.path.exists(mark)):
                open(mark, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    made = Cluster(initialize_head=True, head_node_args=NODE | {"num_cpus": 2})
    made.add_node(**NODE)
    ray.init(address=made.address, log_to_driver=False, logging_level=logging.CRITICAL)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of grey pictures, whose scores are 0, 20, 40 and 60, and a broken one."""
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    for number in range(4):
        Path(f"d/{number}.png").write_bytes(grey(51 * number))
    Path("d/broken.png").write_bytes(b"none")
    return tmp_path


def grey(level):
    file = io.BytesIO()
    Image.new("RGB", (240, 250), (level,) * 3).save(file, "png")
    return file.getvalue()


def rows(path):
    return {row["path"]: row for row in pq.read_table(path).to_pylist()}


def scores(path):
    return [row["score"] for row in pq.read_table(path).to_pylist()]


def test_every_kind_of_input_and_processes_that_die(cluster, photos, brightness):
    Path("d/fragile.png").write_bytes(grey(102))
    Path("d/poison.png").write_bytes(grey(102))
    pictures = [{"bytes": grey(51 * number), "path": None} for number in range(3)]
    pq.write_table(pa.table({"label": [1, 2, 3, 4], "image": [*pictures, None]}), "t.parquet", row_group_size=3)
    Path("e").mkdir()
    Path("e/1.png").write_bytes(grey(51))
    pq.write_table(pa.table({"path": ["d/0.png", "e/1.png", "e/gone.png", None], "name": list("abcd")}), "l.parquet")
    summary = score_batches(
        ["d", "t.parquet", "l.parquet", "nothing"],
        "rows.parquet",
        model=brightness,
        actor=Dying,
        quiet=True,
        concurrency=2,
    )
    found = pq.read_table("rows.parquet")
    assert tuple(found.column_names)[: len(COLUMNS)] == COLUMNS
    assert [(row["path"], row["score"] if row["error"] is None else row["error"]) for row in found.to_pylist()] == [
        ("d/0.png", 0),
        ("d/1.png", pytest.approx(20)),
        ("d/2.png", pytest.approx(40)),
        ("d/3.png", pytest.approx(60)),
        ("d/broken.png", "not an image that can be read"),
        ("d/fragile.png", pytest.approx(40)),
        ("d/poison.png", "no process could score it: its process died"),
        ("t.parquet#0", 0),
        ("t.parquet#1", pytest.approx(20)),
        ("t.parquet#2", pytest.approx(40)),
        ("t.parquet#3", "there is no picture: the value is null"),
        ("e/1.png", pytest.approx(20)),
        ("e/gone.png", "No such file or directory"),
        ("l.parquet", "the table has a row without a path"),
        ("nothing", "No such file or directory"),
    ]
    assert (summary.total, summary.scored, summary.failed) == (15, 9, 6)
    assert run(["score", "d", "-o", "rows.csv", "--model", str(brightness)]) == 1
    lines = Path("rows.csv").read_text().splitlines()[1:]
    theirs = {line.partition(",")[0]: line.split(",") for line in lines if "poison" not in line}
    ours = rows("rows.parquet")
    for path, cells in theirs.items():
        assert ours[path]["score"] == (pytest.approx(float(cells[1]), abs=1e-3) if cells[1] else None)
        assert [str(ours[path][name]) for name in ("model_sha256", "size", "time")] == cells[4:7]


def test_a_node_is_killed_in_the_middle(cluster, photos, brightness, monkeypatch):
    for number in range(30):
        os.link("d/1.png", f"d/link{number:02}.png")
    monkeypatch.setattr(batch_output, "SHORTEST", 0.1)
    node = cluster.add_node(**NODE)

    def kill():
        while not list(Path().glob("rows.parquet.parts/part-*")):
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = score_batches(["d"], "rows.parquet", model=brightness, actor=Slow, concurrency=3, quiet=True)
    killer.join()
    assert (summary.total, summary.scored, summary.failed) == (35, 34, 1)
    assert [row["path"] for row in pq.read_table("rows.parquet").to_pylist()] == [
        f"d/{name}" for name in sorted(os.listdir("d"))
    ]
    assert sorted(os.listdir()) == ["d", "rows.parquet"]


KILLED = """
import sys, time
from noref.serve import batch_output, batch_run

class Slow(batch_run.ScoreBatch):
    def __call__(self, batch):
        time.sleep(0.1 * len(batch))
        return super().__call__(batch)

batch_output.SHORTEST = 0.1
batch_run.FEWEST = 2
batch_run.score_batches(["d"], sys.argv[1], model=sys.argv[2], address=sys.argv[3], actor=Slow, concurrency=2)
"""


def test_a_killed_driver_loses_nothing_that_is_written(cluster, photos, brightness, capfd):
    out = "rows.parquet"
    for number in range(40):
        os.link("d/1.png", f"d/link{number:02}.png")
    words = [sys.executable, "-c", KILLED, out, str(brightness), cluster.address]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    folder = Path("rows.parquet.parts")
    while process.poll() is None and len(list(folder.glob("part-*"))) < 2:
        time.sleep(0.02)
    process.kill()
    process.wait()
    written = {row["path"]: row for row in pq.read_table(folder).to_pylist()}
    assert 1 < len(written) < 45
    words = ["batch", "d", "--out", out, "--model", str(brightness), "--concurrency", "2"]
    assert run(words) == 2
    assert "--resume goes on with it, --overwrite replaces it" in capfd.readouterr().err
    assert run([*words, "--resume"]) == 1
    assert "44 of 45 scored (" in capfd.readouterr().err
    found = pq.read_table(out).to_pylist()
    assert sorted(row["path"] for row in found) == [f"d/{name}" for name in sorted(os.listdir("d"))]
    assert {path: row for path, row in rows(out).items() if path in written and row["score"]} == {
        path: row for path, row in written.items() if row["score"]
    }


@pytest.fixture
def bucket(monkeypatch):
    """An object store on the loopback: the file system, and what stands behind a path in its addresses."""
    server = pytest.importorskip("moto.server", reason="needs the dev extra").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    place = "{}:{}".format(*server.get_host_and_port())
    from pyarrow.fs import S3FileSystem

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    secret = {"access_key": "someone", "secret_key": "hidden"}
    store = S3FileSystem(**secret, endpoint_override=place, scheme="http", allow_bucket_creation=True)
    store.create_dir("bucket")
    yield store, f"?endpoint_override={place}&scheme=http&region=us-east-1"
    server.stop()


def test_an_object_store(cluster, photos, bucket, brightness, capfd):
    store, options = bucket

    def put(name, content):
        with store.open_output_stream(f"bucket/{name}") as file:
            file.write(content)

    for path in sorted(Path("d").iterdir()):
        put(f"photos/{path.name}", path.read_bytes())
    put("photos/odd name #1.png", grey(255))
    words = ["batch", f"s3://someone:hidden@bucket/photos{options}", "--model", str(brightness), "--concurrency", "1"]
    words += ["--out", f"s3://someone:hidden@bucket/scores.parquet{options}"]
    assert run(words) == 1
    with store.open_input_file("bucket/scores.parquet") as file:
        first = pq.read_table(file).to_pylist()
    names = ["0.png", "1.png", "2.png", "3.png", "broken.png", "odd name #1.png"]
    assert [row["path"] for row in first] == [f"s3://bucket/photos/{name}" for name in names]
    assert [row["score"] for row in first] == pytest.approx([0, 20, 40, 60, None, 100])
    assert all(row["size"] and row["time"] for row in first)
    put("photos/0.png", grey(204))
    store.delete_file("bucket/photos/1.png")
    capfd.readouterr()
    assert run([*words, "--resume"]) == 1
    err = capfd.readouterr().err
    assert "4 of 5 scored (3 by an earlier run), 1 failed" in err
    assert "hidden" not in err
    with store.open_input_file("bucket/scores.parquet") as file:
        assert [row["score"] for row in pq.read_table(file).to_pylist()] == pytest.approx([80, 40, 60, None, 100])
    assert run(words) == 2
    assert "hidden" not in capfd.readouterr().err
    assert [info.path for info in store.get_file_info(pa.fs.FileSelector("bucket"))] == [
        "bucket/photos",
        "bucket/scores.parquet",
    ]


@pytest.mark.parametrize("code", re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))
def test_the_page_runs(cluster, photos, code):
    Path("d").rename("photos")
    for name in ("photos", "scores"):  # the nodes were not started in this folder
        code = code.replace(f'"{name}"', repr(str(photos / name)))
    exec(compile(code, "batch.md", "exec"), {})
    found = pq.read_table("scores").to_pylist()
    assert len(found) == 5
    assert sum(0 <= row["score"] <= 100 for row in found if row["error"] is None) == 4
