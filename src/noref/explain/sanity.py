"""Do maps depend on what a model has learnt? Those of the same network with shuffled weights must look different.

After Adebayo et al. 2018, "Sanity checks for saliency maps", https://arxiv.org/abs/1810.03292, their cascading
randomisation from the output down. Differs: a tensor's values are shuffled among themselves and not drawn anew, so that
each layer keeps its scale and networks whose batch norms are folded away do not fall silent; it works on an exported
model too. A last logistic curve is left out of shuffled copies, and their scores are not clipped: at the ends all
places look alike, whatever the weights. Three steps of the cascade and not every layer; the verdict and its limit are
ours.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from noref.errors import DataError, ImageError, MissingExtraError, OptionError
from noref.explain import figure
from noref.explain.explain import SHOWN, Options, labels_of, prepare, progress
from noref.explain.figure import Column, Sheet
from noref.explain.load import Exported, Subject
from noref.explain.map_types import Map, Plane
from noref.images import name as called
from noref.images import printable, read
from noref.scoring.find_images import find_images
from noref.scoring.network import Network
from noref.writing import replacing

STAGES = {"head": 0.0, "upper half": 0.5, "all": 1.0}  # share of the layers below the head whose weights are shuffled
LIMIT = 0.5  # mean size of the rank correlation with the maps of a wholly shuffled network, at most
LAST = 8  # steps of an exported model among which its logistic curve may be
SIDE = 32  # points a side on which maps are compared
TABLE = "sanity.csv"


@dataclass(frozen=True)
class Row:
    """How much maps of a partly shuffled network are like those of the trained one, mean over photos.

    Attributes:
        model: its name.
        kind: of the maps.
        stage: a key of `STAGES`.
        photos: how many.
        rank: Spearman's correlation of the points, -1 to 1; 1: the same map. A map without any differences counts 0.
        size: mean of its absolute value, 0 to 1.
        ssim: structural similarity of the maps, each brought to 0-1, -1 to 1.
        flat: how many maps of the shuffled network have no differences at all: they count 0, and say little.
    """

    model: str
    kind: str
    stage: str
    photos: int
    rank: float
    size: float
    ssim: float
    flat: int = 0


@dataclass
class Report:
    """What a check came to.

    Attributes:
        rows: a model, a kind and a stage each.
        failed: photo -> why it takes no part.
    """

    rows: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every kind of map of every model depends on what was learnt."""
        return bool(self.rows) and all(row.size < LIMIT for row in self.rows if row.stage == "all")

    @property
    def verdicts(self) -> list[str]:
        """One sentence for each model and kind."""
        found = []
        for row in self.rows:
            if row.stage == "all":
                word, than = ("passes", "below") if row.size < LIMIT else ("FAILS", "not below")
                found.append(
                    f"{row.kind} of {row.model} {word}: |rank correlation| with shuffled weights {row.size:.2f},"
                    f" {than} {LIMIT:g}" + (f"; {row.flat} of {row.photos} of these maps are flat" if row.flat else "")
                )
        return found


def run(
    paths: Sequence[str],
    out: Path,
    *,
    models: Sequence[str] = ("default",),
    options: Options | None = None,
    recursive: bool = False,
    seed: int = 0,
) -> Report:
    """Compare each model's maps with those of shuffled copies; write `sanity.csv` and a figure of the first photo.

    Args:
        paths: photos and folders of photos; several, for one photo says little.
        out: folder for `sanity.csv` and `sanity-MODEL.png`.
        models: as in `open_model`.
        options: kinds of map and what changes them.
        recursive: folders below the folders too.
        seed: of the shuffling.

    Raises:
        OptionError: as `noref.explain.explain.explain`.
        ModelError: a model that cannot be trusted.
        MissingExtraError: a part that a model or a map needs is not installed.
    """
    options = options or Options()
    subjects = {name: options.open(name) for name in dict.fromkeys(models)}
    labels, report = labels_of(subjects), Report()
    found = [
        item for item in find_images(paths, recursive=recursive) if Path(item.path).parent.resolve() != out.resolve()
    ]
    report.failed = {printable(item.path): str(item.error) for item in found if item.error}
    photos = [Path(item.path) for item in found if item.error is None]
    figures = [out / f"sanity-{number}.png" for number in range(1, len(labels) + 1)]
    prepare(out, figures)
    with progress(len(photos) * len(labels) * (1 + len(STAGES))) as advance:
        for label, subject, target in zip(labels, subjects.values(), figures, strict=True):
            readable = [photo for photo in photos if _readable(photo, report)]
            columns = {"trained": [_column(photo, "trained", subject, options, advance) for photo in readable]}
            for stage in STAGES:
                with shuffled(subject, stage, seed) as other:
                    title = f"{stage} shuffled"
                    columns[stage] = [_column(photo, title, other, options, advance) for photo in readable]
            report.rows += _rows(label, options.maps, columns)
            if readable:
                sheet = Sheet(
                    label, read(readable[0], preprocessing=SHOWN), tuple(_within(own[0]) for own in columns.values())
                )
                figure.save(figure.draw(sheet), target, f"sanity {seed}")
    _write(report, out / TABLE)
    return report


@contextmanager
def shuffled(subject: Subject, stage: str, seed: int) -> Iterator[Subject]:
    """A copy of a model, the weights of its head, of half its layers too, or of all, shuffled.

    Args:
        subject: as `open_model` gives it; stays as it is.
        stage: a key of `STAGES`.
        seed: the same one shuffles the same way.

    Raises:
        MissingExtraError: an exported model needs onnx.
    """
    rng, share = np.random.default_rng(seed), STAGES[stage]
    if not isinstance(subject, Exported):
        from noref.explain.trained import Trained

        if not isinstance(subject, Trained):
            raise OptionError(f"{type(subject).__name__}: not a model that can be shuffled")
        yield subject.shuffled(share, rng)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shuffled.onnx"
        path.write_bytes(shuffled_onnx(subject.network.path.read_bytes(), share, rng))
        subject.card.write(path)
        yield Exported(Network(path, threads=subject.network.threads), crop=subject.crop, clip=False)


def shuffled_onnx(model: bytes, share: float, rng: Generator) -> bytes:
    """An ONNX model with the weights of its last layers shuffled.

    Args:
        model: the file.
        share: of the layers below the last one, 0 to 1; the last one always.
        rng: where all chance comes from.

    Returns:
        The file with float tensors of 16 and more values that feed a convolution, a matrix product or the arithmetic
        around it, shuffled within themselves. Smaller ones are pixel statistics and settings, and stay. A sigmoid
        among the last eight steps is left out.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingExtraError("train", "shuffling the weights of an exported model") from error
    found = onnx.load_from_string(model)
    tensors = {one.name: one for one in found.graph.initializer}
    layers = [
        [name for name in node.input if name in tensors and _is_weight(tensors[name].data_type, tensors[name].dims)]
        for node in found.graph.node
    ]
    layers = [names for names in layers if names]
    for names in layers[len(layers) - 1 - round(share * (len(layers) - 1)) :]:
        for name in names:
            values = numpy_helper.to_array(tensors[name])
            mixed = rng.permutation(values.reshape(-1)).reshape(values.shape)
            tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(mixed), name))
    for node in found.graph.node[-LAST:]:
        if node.op_type == "Sigmoid":
            node.op_type = "Identity"
    return bytes(found.SerializeToString())


def likeness(first: Plane, second: Plane) -> tuple[float, float]:
    """Rank correlation and structural similarity of two maps, on 32 x 32 points.

    Returns:
        Spearman's correlation in [-1, 1], 0 where one of the maps has no differences; SSIM in [-1, 1].

    Example:
        >>> plane = np.add.outer(np.arange(32.0), np.arange(32.0))
        >>> [round(value, 6) for value in likeness(plane, plane)]
        [1.0, 1.0]
    """
    from noref.evaluate.correlation import srcc

    small = [_small(plane) for plane in (first, second)]
    try:
        rank = srcc(small[0].ravel(), small[1].ravel())
    except DataError:
        rank = 0.0
    return rank, ssim(small[0], small[1])


def ssim(first: Plane, second: Plane, window: int = 7) -> float:
    """Structural similarity of two maps of one size, each brought to 0-1; a map without differences is all 0.

    Source:
        Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861, with a square window of equal weights that lies
        wholly inside, and the unbiased variance.
    """
    ranges = [plane - plane.min() for plane in (first, second)]
    x, y = (plane / plane.max() if plane.max() > 0 else plane for plane in ranges)
    views = [np.lib.stride_tricks.sliding_window_view(plane, (window, window)) for plane in (x, y)]
    (mean_x, mean_y), (var_x, var_y) = ([f(view) for view in views] for f in (_mean, _variance))
    centred = [view - _mean(view)[:, :, None, None] for view in views]
    both = (centred[0] * centred[1]).sum(axis=(2, 3)) / (window**2 - 1)
    one, two = 0.01**2, 0.03**2
    top = (2 * mean_x * mean_y + one) * (2 * both + two)
    return float((top / ((mean_x**2 + mean_y**2 + one) * (var_x + var_y + two))).mean())


def _mean(view: NDArray[np.float64]) -> Plane:
    found: Plane = view.mean(axis=(2, 3))
    return found


def _variance(view: NDArray[np.float64]) -> Plane:
    found: Plane = view.var(axis=(2, 3), ddof=1)
    return found


def _small(plane: Plane) -> Plane:
    picture = Image.fromarray(plane.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.float64)


def _is_weight(kind: int, dims: Sequence[int]) -> bool:
    floats = (1, 10, 11)  # float32, float16, float64 in ONNX's count
    return kind in floats and int(np.prod(list(dims) or [1])) >= 16


def _rows(label: str, kinds: Sequence[str], columns: dict[str, list[Column]]) -> list[Row]:
    rows = []
    trained = columns["trained"]
    for place, kind in enumerate(kinds):
        for stage in STAGES:
            pairs = zip(trained, columns[stage], strict=True)
            found = np.array([likeness(a.maps[place].values, b.maps[place].values) for a, b in pairs])
            if len(found):
                rank, size, alike = found[:, 0].mean(), np.abs(found[:, 0]).mean(), found[:, 1].mean()
                flat = sum(float(np.ptp(_small(column.maps[place].values))) == 0 for column in columns[stage])
                rows.append(Row(label, kind, stage, len(found), float(rank), float(size), float(alike), flat))
    return rows


def _column(photo: Path, title: str, subject: Subject, options: Options, advance: object) -> Column:
    pixels = read(photo, preprocessing=subject.card.preprocessing)
    try:
        maps: list[Map] = subject.maps(pixels, options.maps)
        column = Column(title, subject.score(pixels), tuple(maps))
    except OptionError:  # a shuffled network whose score no longer depends on the layer: a map without differences
        maps = [Map(kind, np.zeros((SIDE, SIDE))) for kind in options.maps]
        column = Column(title, subject.score(pixels), tuple(maps))
    if callable(advance):
        advance()
    return column


def _within(column: Column) -> Column:
    """For the figure: scores of a shuffled network kept to 0-100."""
    maps = [Map(one.kind, one.values.clip(0, 100), one.window) if one.kind == "quality" else one for one in column.maps]
    return Column(column.model, column.score, tuple(maps))


def _readable(photo: Path, report: Report) -> bool:
    if called(photo) in report.failed:
        return False
    try:
        read(photo, preprocessing=SHOWN)
    except ImageError as error:
        report.failed[called(photo)] = str(error).removeprefix(f"{called(photo)}: ")
        return False
    return True


def _write(report: Report, path: Path) -> None:
    names = [one.name for one in fields(Row)]
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in report.rows:
            values = [getattr(row, name) for name in names]
            writer.writerow([f"{value:.4f}" if isinstance(value, float) else value for value in values])
