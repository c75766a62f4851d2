"""`noref.metric.ImageQuality` gives the numbers of `noref.score`, and under DDP each image once."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing
from torchmetrics import MetricCollection

import noref
from noref.errors import ImageError, OptionError
from noref.metric import ImageQuality


def grey(*levels):
    """(B, 3, 40, 50) of one level each, for a model whose score is 100 * mean / 255."""
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 40, 50)


def test_scores_are_those_of_noref_score():
    images = torch.rand(3, 3, 70, 90, generator=torch.Generator().manual_seed(0))
    expected = [noref.score(np.rint(255 * image.permute(1, 2, 0).numpy()).astype(np.uint8)).value for image in images]
    metric = ImageQuality(reduction="none")
    metric.update(images[:2])
    metric.update([images[2]])
    assert metric.compute().tolist() == pytest.approx(expected)
    assert ImageQuality()(images).item() == pytest.approx(sum(expected) / 3)


def test_the_mean_is_over_images_not_over_batches(brightness):
    metric = ImageQuality(brightness)
    assert metric(grey(0, 51)).item() == pytest.approx(10)
    assert metric(grey(255)).item() == pytest.approx(100)
    assert metric.compute().item() == pytest.approx(40)  # 0, 20 and 100
    metric.reset()
    metric.update([grey(51)[0], grey(102)[0, :, :30]])  # of two sizes
    assert metric.compute().item() == pytest.approx(30)


def test_nothing_seen_has_no_score(brightness):
    with pytest.warns(UserWarning, match="before the"):
        assert ImageQuality(brightness).compute().isnan()
    with pytest.warns(UserWarning, match="before the"):
        assert ImageQuality(brightness, reduction="none").compute().shape == (0,)


def test_it_goes_with_others_and_survives_a_copy(brightness):
    metric = ImageQuality(brightness)
    metric.update(grey(255))
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        other.update(grey(0))
        assert other.compute().item() == pytest.approx(50)
    together = MetricCollection({"mean": metric, "each": ImageQuality(brightness, reduction="none")})
    together.update(grey(0, 255))
    assert together.compute()["each"].tolist() == pytest.approx([0, 100])


def test_wrong_calls_say_why(brightness):
    with pytest.raises(OptionError, match="reduction must be mean or none, got 'sum'"):
        ImageQuality(brightness, reduction="sum")
    metric = ImageQuality(brightness, reduction="none")
    with pytest.raises(ImageError, match=r"floats must lie in \[0, 1\]"):
        metric.update(torch.stack([torch.zeros(3, 40, 50), torch.full((3, 40, 50), 1.2)]))
    with pytest.raises(ImageError, match="too few"):
        metric.update(torch.zeros(1, 3, 8, 8))
    assert metric.scores == []


SHARDS = [((0, 51, 102), (153, 204)), ((255,), ())]  # of the two processes


def process(rank, folder, model):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = []
    for shards in SHARDS:
        for reduction in ("none", "mean"):
            metric = ImageQuality(model, reduction=reduction, threads=1)
            for level in shards[rank]:
                metric.update(grey(level))
            found.append(metric.compute().tolist())
            assert len(metric.scores) == len(shards[rank])  # after it, each process has its own again
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_with_uneven_shards_count_each_image_once(brightness, tmp_path):
    multiprocessing.start_processes(process, (str(tmp_path), str(brightness)), nprocs=2, start_method="spawn")
    for rank in (0, 1):
        each, mean, one, of_one = torch.load(tmp_path / f"{rank}.pt")
        assert each == pytest.approx([0, 20, 40, 60, 80])
        assert mean == pytest.approx(40)
        assert one == pytest.approx(100)
        assert of_one == pytest.approx(100)


def test_without_torchmetrics_the_extra_is_named():
    code = "import sys; sys.modules['torchmetrics'] = None; import noref.metric"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtraError: noref.metric needs an extra: pip install 'noref[metric]'" in done.stderr
