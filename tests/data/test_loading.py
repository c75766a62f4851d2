from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from noref import images
from noref.card import Preprocessing
from noref.data.loading import Crops, EpochLoader, grid_crops, make_loader, pass_batches, random_crops, whole_image
from noref.data.records import Record, Scale
from noref.errors import DataError, ImageError, OptionError

PLAIN = Preprocessing(max_pixels=None, min_side=1)


@pytest.fixture
def records(draw):
    """Eleven images of 40 x 30 whose quality is their place / 10."""
    return [Record(draw(f"{i}.png", seed=i), float(i), Scale(0, 10)) for i in range(11)]


def everything(loader):
    return [tuple(part.clone() for part in batch) for batch in loader]


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)
    )


def pixels(record):
    return np.asarray(Image.open(record.path))


def is_part_of(crop, image, *, mirrored):
    """Whether a (3, S, S) crop occurs in an (H, W, 3) image; by looking everywhere."""
    crop = crop.numpy().transpose(1, 2, 0)
    crop = crop[:, ::-1] if mirrored else crop
    side = crop.shape[0]
    return any(
        np.array_equal(image[top : top + side, left : left + side], crop)
        for top in range(image.shape[0] - side + 1)
        for left in range(image.shape[1] - side + 1)
    )


def test_all_crops_of_an_image_come_together_with_its_quality(records):
    dataset = Crops(records, size=16, crops=7, preprocessing=PLAIN)
    assert len(dataset) == 11
    crops, quality, index = dataset[4]
    assert (crops.shape, crops.dtype) == ((7, 3, 16, 16), torch.uint8)
    assert (quality.item(), index.item()) == (pytest.approx(0.4), 4)
    turned = 0
    for crop in crops:
        straight, mirrored = (is_part_of(crop, pixels(records[4]), mirrored=m) for m in (False, True))
        assert straight != mirrored
        turned += mirrored
    assert 0 < turned < 7


def test_a_batch_has_the_shapes_it_says(records):
    batch = next(iter(make_loader(Crops(records, size=16, crops=3, preprocessing=PLAIN), batch_images=4)))
    assert batch.crops.shape == (4, 3, 3, 16, 16)
    assert (batch.quality.shape, batch.quality.dtype) == ((4,), torch.float32)
    assert (batch.indices.shape, batch.indices.dtype) == ((4,), torch.int64)
    assert batch.quality.tolist() == pytest.approx([i / 10 for i in batch.indices.tolist()])


def test_random_crops_reach_every_place_and_are_mirrored_half_of_the_time():
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    crops = random_crops(image, np.random.default_rng(0), size=4, count=3000, flip=True)
    seen: dict[bytes, int] = {}
    for crop in crops:
        seen[crop.tobytes()] = seen.get(crop.tobytes(), 0) + 1
    windows = [image[top : top + 4, left : left + 4] for top in range(2) for left in range(3)]
    assert set(seen) == {view.tobytes() for w in windows for view in (w, w[:, ::-1])}
    assert min(seen.values()) > 250 - 4 * 16  # 12 equal chances of 3000 draws, four standard deviations
    assert max(seen.values()) < 250 + 4 * 16


def test_the_grid_reaches_every_pixel_and_is_the_same_each_time(records):
    image = pixels(records[0])
    marked = np.zeros((30, 40), dtype=int)
    for top, left in images.grid(30, 40, 16):
        marked[top : top + 16, left : left + 16] += 1
    assert marked.min() > 0
    dataset = Crops(records, size=16, preprocessing=PLAIN, train=False)
    crops = dataset[0].crops
    dataset.set_epoch(5)
    assert torch.equal(crops, dataset[0].crops)
    expected = [image[top : top + 16, left : left + 16] for top, left in images.grid(30, 40, 16)]
    assert np.array_equal(crops.numpy(), np.stack(expected).transpose(0, 3, 1, 2))
    assert np.array_equal(grid_crops(image, np.random.default_rng(0), size=16), np.stack(expected))


def test_the_paper_protocol_is_ten_seeded_crops_that_are_never_mirrored(records):
    def crops(seed, epoch=0):
        dataset = Crops(records, size=16, seed=seed, preprocessing=PLAIN, train=False, protocol="paper")
        dataset.set_epoch(epoch)
        return dataset[2].crops

    assert crops(1).shape == (10, 3, 16, 16)
    assert torch.equal(crops(1), crops(1, epoch=3))
    assert not torch.equal(crops(1), crops(2))
    assert all(is_part_of(crop, pixels(records[2]), mirrored=False) for crop in crops(1))


def test_the_whole_image_as_its_only_crop(records):
    dataset = Crops(records, size=None, preprocessing=PLAIN, train=False)
    assert np.array_equal(dataset[3].crops.numpy()[0], pixels(records[3]).transpose(2, 0, 1))
    image = pixels(records[3])
    views = {whole_image(image, np.random.default_rng(seed), flip=True).tobytes() for seed in range(20)}
    assert views == {image.tobytes(), image[:, ::-1].tobytes()}


def test_small_images_are_enlarged_and_large_ones_shrunk_by_the_rule(records):
    assert Crops(records, size=60, crops=2)[0].crops.shape == (2, 3, 60, 60)
    rule = Preprocessing(max_pixels=300, min_side=1, resample="lanczos")
    dataset = Crops(records, size=None, preprocessing=rule, train=False)
    assert np.array_equal(dataset.image(0), images.read(records[0].path, preprocessing=rule))
    assert dataset.image(0).shape == (15, 20, 3)


def test_crops_are_a_function_of_seed_epoch_and_index(records):
    def crops(seed, epoch, index):
        dataset = Crops(records, size=16, crops=2, seed=seed, preprocessing=PLAIN)
        dataset.set_epoch(epoch)
        return dataset[index].crops

    first = crops(1, 2, 3)
    assert torch.equal(first, crops(1, 2, 3))
    assert not torch.equal(first, crops(2, 2, 3))
    assert not torch.equal(first, crops(1, 3, 3))
    dataset = Crops(records, size=16, crops=2, seed=1, preprocessing=PLAIN)
    dataset.set_epoch(2)
    for index in (5, 3, 0):
        dataset[index]
    assert torch.equal(first, dataset[3].crops)


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_sees_the_same(records, workers):
    def epoch(workers):
        dataset = Crops(records, size=16, crops=2, seed=1, preprocessing=PLAIN)
        return everything(make_loader(dataset, batch_images=3, seed=5, epoch=2, workers=workers))

    assert same(epoch(0), epoch(workers))


def test_an_epoch_resumed_in_the_middle_goes_on_exactly(records):
    def epoch(**start):
        dataset = Crops(records, size=16, crops=2, seed=1, preprocessing=PLAIN)
        return everything(make_loader(dataset, batch_images=3, seed=5, epoch=4, **start))

    unbroken = epoch()
    assert len(unbroken) == 4
    for done in range(5):
        assert same(epoch(start_batch=done), unbroken[done:])


def test_a_loader_brings_the_crops_of_its_epoch(records):
    dataset = Crops(records, size=16, crops=2, preprocessing=PLAIN)
    (first, *_), (second, *_) = (
        everything(make_loader(dataset, batch_images=11, epoch=epoch, shuffle=False)) for epoch in (0, 1)
    )
    assert not torch.equal(first[0], second[0])
    dataset.set_epoch(1)
    assert torch.equal(second[0][4], dataset[4].crops)


def test_two_places_of_one_image_get_different_crops(records):
    dataset = Crops([records[0], records[0]], size=16, crops=3, preprocessing=PLAIN)
    assert not torch.equal(dataset[0].crops, dataset[1].crops)


def test_every_image_once_an_epoch_in_a_new_order(records):
    dataset = Crops(records, size=16, crops=1, preprocessing=PLAIN)

    def order(epoch, **options):
        loader = make_loader(dataset, batch_images=3, epoch=epoch, **options)
        return [i for batch in loader for i in batch.indices.tolist()]

    assert sorted(order(0)) == sorted(order(1)) == list(range(11))
    assert order(0) == order(0) != order(1)
    assert order(0, seed=1) != order(0)
    assert order(3, shuffle=False) == list(range(11))
    assert len(order(0, drop_last=True)) == 9


def test_processes_that_train_together_share_an_epoch(records):
    dataset = Crops(records, size=16, crops=1, preprocessing=PLAIN)

    def indices(rank, ranks, **options):
        loader = make_loader(dataset, batch_images=2, epoch=1, rank=rank, ranks=ranks, **options)
        return [batch.indices.tolist() for batch in loader]

    alone = [i for batch in indices(0, 1) for i in batch]
    both = [indices(rank, 2) for rank in range(2)]
    assert sorted(i for rank in both for batch in rank for i in batch) == list(range(11))
    full = [indices(rank, 2, drop_last=True) for rank in range(2)]
    assert [len(rank) for rank in full] == [2, 2]
    for step in range(2):  # together they see what one process with twice the batch sees
        assert sorted(full[0][step] + full[1][step]) == sorted(alone[4 * step : 4 * step + 4])


def test_the_cache_changes_nothing_and_keeps_to_its_budget(records):
    size = 40 * 30 * 3
    for budget, held in ((0, 0), (size, 1), (3 * size + 1, 3), (1 << 20, 11)):
        dataset = Crops(records, size=16, crops=2, preprocessing=PLAIN, cache_bytes=budget)
        first = [dataset[i].crops for i in range(11)]
        for record in records[:held]:
            record.path.rename(record.path.with_suffix(".gone"))
        assert all(torch.equal(dataset[i].crops, first[i]) for i in range(held))
        if held < 11:
            (records[held].path).rename(records[held].path.with_suffix(".gone"))
            with pytest.raises(ImageError):
                dataset[held]
        for path in records[0].path.parent.glob("*.gone"):
            path.rename(path.with_suffix(".png"))


def test_preloading_fills_the_cache(records):
    dataset = Crops(records, size=16, crops=2, preprocessing=PLAIN)
    assert dataset.preload() == 11
    for record in records:
        record.path.unlink()
    assert dataset[10].crops.shape == (2, 3, 16, 16)
    small = Crops(records, size=16, cache_bytes=0)
    with pytest.raises(ImageError):
        small.preload()


def test_a_view_takes_the_place_of_the_crops(records):
    def corner(image, rng):
        return np.stack([image[:8, :9], np.full((8, 9, 3), rng.integers(256), dtype=np.uint8)])

    dataset = Crops(records, size=16, preprocessing=PLAIN, view=corner)
    crops = dataset[1].crops
    assert np.array_equal(crops[0].numpy(), pixels(records[1])[:8, :9].transpose(2, 0, 1))
    assert torch.equal(crops, dataset[1].crops)
    dataset.set_epoch(1)
    assert not torch.equal(crops[1], dataset[1].crops[1])


def test_a_bare_path_has_no_score(records):
    crops, quality, _ = Crops([records[0].path], size=16)[0]
    assert torch.isnan(quality)
    assert crops.shape == (10, 3, 16, 16)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_stops_with_its_name(records, workers):
    records[7].path.write_bytes(b"no image")
    loader = make_loader(Crops(records, size=16, preprocessing=PLAIN), batch_images=2, workers=workers)
    with pytest.raises(ImageError, match=r"^.*7\.png: not an image that can be read$"):
        everything(loader)


def test_images_of_different_size_do_not_make_one_batch(records, draw):
    records[1] = Record(draw("wide.png", size=(80, 30)), 1.0, Scale(0, 10))
    dataset = Crops(records, size=16, preprocessing=PLAIN, train=False)
    with pytest.raises(DataError, match="batch_images=1"):
        everything(make_loader(dataset, batch_images=2, shuffle=False))
    assert len(everything(make_loader(dataset, batch_images=1, shuffle=False))) == 11


def test_a_dataset_can_be_sent_to_a_worker(records):
    dataset = Crops(records, size=16, preprocessing=PLAIN)
    dataset.preload()
    sent = pickle.loads(pickle.dumps(dataset))
    assert len(pickle.dumps(dataset)) < 20_000
    assert torch.equal(sent[3].crops, dataset[3].crops)


@pytest.mark.parametrize("options", [{"size": 0}, {"crops": 0}, {"seed": -1}, {"protocol": "ten"}])
def test_options_that_cannot_work(records, options):
    with pytest.raises(OptionError):
        Crops(records, **{"size": 16, "train": False, **options})


def test_no_records():
    with pytest.raises(OptionError, match="0 records"):
        Crops([], size=16)


@pytest.mark.parametrize("options", [{"batch_images": 0}, {"epoch": -1}, {"start_batch": -1}, {"rank": 2, "ranks": 2}])
def test_loaders_that_cannot_work(records, options):
    with pytest.raises(OptionError):
        make_loader(Crops(records, size=16), **{"batch_images": 2, **options})


def test_fewer_images_than_a_batch(records):
    with pytest.raises(DataError, match="11 images do not fill one batch of 12"):
        make_loader(Crops(records, size=16), batch_images=12, drop_last=True)


def test_loading_knows_no_data_set_and_no_degradation():
    text = (Path(__file__).parents[2] / "src" / "noref" / "data" / "loading.py").read_text()
    for word in ("livec", "koniq", "kadid", "degrade"):
        assert word not in text.lower()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_that_lives_gives_the_batches_of_one_made_for_each_epoch(records, workers):
    crops = Crops(records, size=16, crops=2, preprocessing=PLAIN)
    loader = EpochLoader(crops, workers=workers)
    processes = []
    for first in (4, 9):  # an epoch of two passes each
        orders = {number: pass_batches(len(crops), batch_images=4, epoch=number) for number in (first, first + 1)}
        found = everything(loader.load(list(orders.items())))
        assert len(found) == 6
        assert same(found, [b for n in orders for b in everything(make_loader(crops, batch_images=4, epoch=n))])
        processes.append([worker.pid for worker in getattr(loader._loader._iterator, "_workers", [])])
    assert processes[0] == processes[1]
    assert len(processes[0]) == workers
