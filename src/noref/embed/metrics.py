"""A map of a feature space, and the figures without which such a map proves nothing.

t-SNE draws clusters where there are none and hides others; its distances mean nothing. So every figure here is taken
in the feature space itself, by the cosine, and stands beside what chance gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from noref.errors import DataError, MissingExtraError, OptionError
from noref.evaluate.correlation import srcc

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
NEIGHBOURS = 5
BLOCK = 512  # rows of the matrix of similarities that are in memory at a time
LARGEST = 4000  # images for a silhouette, whose matrix of distances is whole


class Figure(NamedTuple):
    """One number about a feature space.

    Attributes:
        name: what it is, in words.
        value: higher is better for all figures here.
        chance: what features give that know nothing, the mean over draws.
        low: 2.5 % of those draws lie below.
        high: 2.5 % of them lie above.
    """

    name: str
    value: float
    chance: float
    low: float
    high: float


def unit(features: NDArray[np.floating]) -> Array:
    """Features at length 1.

    Args:
        features: (M, D), one an image.

    Raises:
        DataError: another shape, fewer than two images, all features the same, one of length 0 or not finite.
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 2:
        raise DataError(f"features must be (images, numbers), two or more numbers each, got {x.shape}")
    if len(x) < 2:
        raise DataError("one image alone has no map and no neighbours: give two or more")
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or lengths.min() == 0:
        raise DataError("a feature is zero or not finite: it has no direction")
    if not np.ptp(x, axis=0).any():
        raise DataError("all features are the same: there is nothing to map")
    return np.asarray(x / lengths)


def tsne(features: NDArray[np.floating], *, perplexity: float = 30.0, seed: int = 0) -> Array:
    """t-SNE by the cosine, started from the first two principal components.

    Args:
        features: (M, D).
        perplexity: about how many neighbours a point minds; below the number of images.
        seed: the same seed gives the same picture.

    Returns:
        (M, 2) places; their distances say nothing by themselves.

    Raises:
        OptionError: a perplexity that this many images do not allow.
        DataError: as `unit`.
        MissingExtraError: scikit-learn is not installed.

    Source:
        van der Maaten and Hinton 2008; scikit-learn's.
    """
    x = unit(features)
    if not 0 < perplexity < len(x):
        fits = max(1, len(x) // 3)
        raise OptionError(f"perplexity {perplexity:g} must lie between 0 and {len(x)}, the images; {fits} would do")
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingExtraError("train", "a map of features") from error
    model = TSNE(metric="cosine", init="pca", perplexity=perplexity, random_state=seed)
    return np.asarray(model.fit_transform(x.astype(np.float32)), dtype=np.float64)


def nearest(features: NDArray[np.floating], groups: Sequence[int] | Indices, *, count: int = NEIGHBOURS) -> Indices:
    """Each image's neighbours by the cosine among the images of other groups, nearest first, ties in index order.

    Args:
        features: (M, D), of any length.
        groups: (M,) images of one group, as of one reference, are no neighbours of each other.
        count: k.

    Returns:
        (M, k) indices.

    Raises:
        DataError: as `unit`, or an image with fewer than k images of other groups.

    Example:
        >>> nearest(np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]]), [0, 0, 1, 2], count=1).ravel().tolist()
        [2, 2, 1, 2]
    """
    x, own = unit(features), np.asarray(groups)
    _check_groups(own, len(x), count)
    found = []
    for start in range(0, len(x), BLOCK):
        similarity = x[start : start + BLOCK] @ x.T
        similarity[own[start : start + BLOCK, None] == own] = -np.inf
        found.append(np.argsort(-similarity, axis=1, kind="stable")[:, :count])
    return np.concatenate(found)


def score_agreement(
    neighbours: Indices,
    scores: Sequence[float] | Array,
    groups: Sequence[int] | Indices,
    *,
    draws: int = 200,
    seed: int = 0,
) -> Figure:
    """How far the mean score of an image's neighbours follows its own: Spearman's correlation, in [-1, 1].

    Chance takes as many images at random from the other groups. It lies below 0 where groups differ in score: the
    others of a good group are worse.

    Args:
        neighbours: (M, k) of `nearest`.
        scores: (M,).
        groups: as for `nearest`.
        draws: of chance.
        seed: of chance.

    Raises:
        DataError: scores that are all the same.
    """
    own, values = np.asarray(groups), np.asarray(scores, dtype=np.float64)

    def follows(places: Indices) -> float:
        return srcc(values[places].mean(axis=1), values)

    return _beside_chance("score of neighbours", follows, neighbours, own, draws, seed)


def type_agreement(
    neighbours: Indices,
    kinds: Sequence[int] | Indices,
    groups: Sequence[int] | Indices,
    *,
    draws: int = 200,
    seed: int = 0,
) -> Figure:
    """The share of an image's neighbours that have its own type, in [0, 1]; arguments as for `score_agreement`."""
    own, kind = np.asarray(groups), np.asarray(kinds)

    def right(places: Indices) -> float:
        return float((kind[places] == kind[:, None]).mean())

    return _beside_chance("neighbours of the same type", right, neighbours, own, draws, seed)


def voted(neighbours: Indices, kinds: Sequence[int] | Indices) -> NDArray[np.bool_]:
    """(M,) whether the neighbours' vote names an image's type; the nearest of them decides a tie."""
    kind = np.asarray(kinds)
    votes = np.stack([np.bincount(kind[row], minlength=kind.max() + 1) for row in neighbours])
    votes = votes + 0.5 * (np.arange(kind.max() + 1) == kind[neighbours[:, :1]])
    return np.asarray(votes.argmax(axis=1) == kind)


def silhouette(
    features: NDArray[np.floating], labels: Sequence[int] | Indices, what: str, *, draws: int = 20, seed: int = 0
) -> Figure:
    """How much nearer images lie to their own label than to the next one, by the cosine, in [-1, 1].

    Chance deals the labels out anew. With more than 4000 images a seeded part of them stands for all.

    Args:
        features: (M, D).
        labels: (M,), two different ones or more, and fewer than images.
        what: the labels are, for the figure's name.
        draws: of chance.
        seed: of chance.

    Raises:
        DataError: as `unit`, or a number of labels that has no silhouette.
        MissingExtraError: scikit-learn is not installed.

    Source:
        Rousseeuw 1987; scikit-learn's.
    """
    try:
        from sklearn.metrics import silhouette_score
    except ImportError as error:
        raise MissingExtraError("train", "a silhouette") from error
    x, label = unit(features), np.asarray(labels)
    rng = np.random.default_rng([7, seed])
    if len(x) > LARGEST:
        some = np.sort(rng.choice(len(x), LARGEST, replace=False))
        x, label = x[some], label[some]
    if not 2 <= len(np.unique(label)) < len(x):
        raise DataError(f"{len(np.unique(label))} labels on {len(x)} images have no silhouette")
    distance = np.clip(1 - x @ x.T, 0, None)
    np.fill_diagonal(distance, 0)
    value = float(silhouette_score(distance, label, metric="precomputed"))
    by_chance = [silhouette_score(distance, rng.permutation(label), metric="precomputed") for _ in range(draws)]
    return Figure(f"silhouette by {what}", value, *_spread(by_chance))


def thirds(scores: Sequence[float] | Array, bounds: tuple[float, float] | None = None) -> Indices:
    """0 for low, 1 for middle, 2 for high.

    Args:
        scores: (M,), higher is better.
        bounds: where the middle begins and ends; a score on a bound belongs above it. None: parts of equal count, the
            lower ones larger where M is no multiple of 3, ties in index order.

    Raises:
        OptionError: bounds that do not rise.

    Example:
        >>> thirds([10, 90, 50, 60]).tolist(), thirds([10, 35, 69, 70], (35, 70)).tolist()
        ([0, 2, 0, 1], [0, 1, 1, 2])
    """
    values = np.asarray(scores, dtype=np.float64)
    if bounds is not None:
        if not bounds[0] < bounds[1]:
            raise OptionError(f"the middle begins at {bounds[0]:g} and ends at {bounds[1]:g}: it must rise")
        return np.digitize(values, bounds).astype(np.int64)
    found = np.empty(len(values), dtype=np.int64)
    for part, members in enumerate(np.array_split(np.argsort(values, kind="stable"), 3)):
        found[members] = part
    return found


def numbered(labels: Sequence[str]) -> tuple[Indices, list[str]]:
    """(M,) place of each label in the sorted list of labels, and that list."""
    names = sorted(set(labels))
    return np.array([names.index(label) for label in labels], dtype=np.int64), names


def _check_groups(own: Indices, images: int, count: int) -> None:
    if own.shape != (images,):
        raise DataError(f"{images} features need as many groups, got {own.shape}")
    _, sizes = np.unique(own, return_counts=True)
    if count < 1 or images - sizes.max() < count:
        raise DataError(f"{count} neighbours from other groups: an image has {images - sizes.max()} of those")


def _beside_chance(
    name: str, figure: Callable[[Indices], float], neighbours: Indices, own: Indices, draws: int, seed: int
) -> Figure:
    """The figure of these neighbours, and of neighbours that are drawn from the other groups by chance."""
    count, rng = neighbours.shape[1], np.random.default_rng([5, seed])
    order = np.argsort(own, kind="stable")  # a group's members side by side: the others are all places but a stretch
    _, place, size = np.unique(own[order], return_index=True, return_counts=True)
    which = np.unique(own, return_inverse=True)[1]
    first, members = place[which], size[which]
    by_chance = []
    for _ in range(draws):
        step = rng.integers(0, (len(own) - members)[:, None], size=(len(own), count))
        by_chance.append(figure(order[(first[:, None] + members[:, None] + step) % len(own)]))
    return Figure(name, figure(neighbours), *_spread(by_chance))


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)
