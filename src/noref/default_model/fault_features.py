"""A model's features of views with known faults, kept on a disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from noref import images
from noref.card import Preprocessing
from noref.data.readers import photos as read_photos
from noref.default_model.cached_features import progress
from noref.default_model.config import PREPROCESSING
from noref.default_model.distorted_views import held_out
from noref.default_model.fault_views import draw_view
from noref.default_model.tones import tones
from noref.scoring.fault_outputs import drop_output
from noref.scoring.network import FAULTS, FEATURES, SPREAD, open_session
from noref.train.feature_cache import Entry, FeatureCache

VIEWS = 8  # of a photo in a pass
SEED = 19


class Views(NamedTuple):
    """Views with what is wrong in them."""

    features: NDArray[np.float32]  # (N, D)
    tones: NDArray[np.float32]  # (N, 76)
    severities: NDArray[np.float32]  # (N, 24)
    photos: list[str]  # (N,) file names


def view_features(model: onnx.ModelProto, path: Path, folder: Path, cache: Path | None, passes: int) -> Views:
    """`passes` x 8 views of each photo, without those that are kept to test on.

    Raises:
        DataError: no photo in the folder.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for name in (FAULTS, SPREAD):
        drop_output(plain, name)
    content = plain.SerializeToString()  # names the entries, whatever outputs are made anew
    session = open_session(onnxruntime, path, content, 1)
    store = FeatureCache(cache, "views with faults", hashlib.sha256(content).hexdigest(), VIEWS, SEED)
    found, names = list[Entry](), list[str]()
    for number, draw, photo in progress(list(_todo(folder, passes)), "views with faults"):

        def compute(number: int = number, draw: int = draw, photo: Path = photo) -> Entry:
            return _views(session, photo, np.random.default_rng([SEED, draw, number]))

        found.append(store.of_image(photo, compute, part=f"-{draw}-{number}"))
        names += [photo.name] * VIEWS
    features, tones, severities = (torch.cat([one[key] for one in found]).float().numpy() for key in ("f", "t", "s"))
    return Views(features, tones, severities, names)


def _todo(folder: Path, passes: int) -> Iterator[tuple[int, int, Path]]:
    photos = read_photos(folder)
    for draw in range(passes):
        for number, photo in enumerate(photos):
            if not held_out(photo.name):
                yield number, draw, photo


def _views(session: Any, path: Path, rng: np.random.Generator, preprocessing: Preprocessing = PREPROCESSING) -> Entry:
    photo = images.read(path, preprocessing=preprocessing)
    views = [draw_view(photo, rng) for _ in range(VIEWS)]
    name = session.get_inputs()[0].name
    features = [session.run([FEATURES], {name: view[None]})[0] for view, _ in views]
    severities = np.stack([severity for _, severity in views])
    found_tones = np.concatenate([tones(view[None]) for view, _ in views])
    parts = {"t": torch.from_numpy(found_tones), "s": torch.from_numpy(severities)}
    return {"f": torch.from_numpy(np.concatenate(features)).half(), **parts}
