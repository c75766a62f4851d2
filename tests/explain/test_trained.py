"""Trained models: what is explained is the score, maps cover the picture, randomising changes what was learnt."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pytorch_grad_cam", reason="needs the explain extra")

from noref.card import Card, Preprocessing, Scale  # noqa: E402
from noref.errors import ImageError, ModelError, OptionError  # noqa: E402
from noref.explain import trained  # noqa: E402
from noref.explain.load import open_model  # noqa: E402
from noref.explain.map_types import Options  # noqa: E402
from noref.explain.trained import ArniqaScorer, arniqa_crops  # noqa: E402
from noref.models import arniqa_regressor  # noqa: E402
from noref.models.arniqa import EncoderPlan, build_encoder  # noqa: E402

from .conftest import save_model, scene  # noqa: E402


@pytest.fixture(scope="module")
def arniqa_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "regressor"
    folder.mkdir()
    torch.manual_seed(0)
    regressor = arniqa_regressor.ARNIQA(build_encoder(EncoderPlan("test_resnet"), weights="none"), crop=64)
    regressor.set_linear_head(torch.randn(2 * regressor.encoder.width) / 20, 0.5)
    arniqa_regressor.save(
        regressor.eval(),
        folder / "model.safetensors",
        Card("regressor", "random", Scale(0, 100), Preprocessing(min_side=64)),
    )
    return folder


def test_the_score_is_the_mean_over_the_grid(run_folder):
    model, pixels = open_model(str(run_folder)), scene()
    corners = [(top, left) for top in (0, 32) for left in (0, 64)]  # two crops of 64 cover 96, two cover 128
    crops = torch.from_numpy(np.stack([pixels[t : t + 64, x : x + 64].transpose(2, 0, 1) for t, x in corners]))
    with torch.no_grad():
        expected = 100 * float(model.network(crops).mean().clip(0, 1))
    assert model.score(pixels) == pytest.approx(expected, abs=1e-3)


def test_maps_of_a_cnn(run_folder):
    model = open_model(str(run_folder))
    assert model.map_types == ("quality", "gradcam-up", "gradcam-down", "panel-attention", "activation", "window")
    found = {one.type: one for one in model.maps(scene(), model.map_types)}
    assert list(found) == list(model.map_types)
    assert found["quality"].values.shape == found["gradcam-up"].values.shape == (96, 128)
    up, down = found["gradcam-up"].values, found["gradcam-down"].values
    assert min(up.min(), down.min()) >= 0
    assert max(up.max(), down.max()) == 1
    again = {one.type: one for one in model.maps(scene(), model.map_types)}
    for name, one in found.items():
        np.testing.assert_array_equal(one.values, again[name].values)


def test_maps_of_a_transformer(vit_folder):
    model, pixels = open_model(str(vit_folder)), scene(160, 200)
    for one in model.maps(pixels, model.map_types):
        assert np.isfinite(one.values).all()
    assert "class-attention" in model.map_types


def test_a_picture_smaller_than_a_crop_is_an_image_error(vit_folder):
    with pytest.raises(ImageError, match="do not fit"):
        open_model(str(vit_folder)).maps(scene(100, 120), ["quality"])


def test_an_arniqa_models_ten_crops_give_its_score_and_lie_where_they_were_cut(arniqa_folder):
    model, pixels = open_model(str(arniqa_folder)), scene(150, 170)
    assert model.map_types == ("quality", "gradcam-up", "gradcam-down")
    crops, boxes = next(arniqa_crops(model.network, pixels))
    with torch.no_grad():
        assert 100 * float(ArniqaScorer(model.network)(crops)[0]) == pytest.approx(model.score(pixels), abs=1e-3)
    for crop, box in list(zip(crops, boxes, strict=True))[:5]:
        cut = pixels[box.top : box.top + 64, box.left : box.left + 64].transpose(2, 0, 1)
        np.testing.assert_allclose(crop.numpy() * 255, cut, atol=1e-3)
    assert boxes[5:] == [
        (0, 0, (128, 128)),
        (0, 42, (128, 128)),
        (22, 0, (128, 128)),
        (22, 42, (128, 128)),
        (10, 20, (128, 128)),
    ]
    up, down = (one.values for one in model.maps(pixels, ["gradcam-up", "gradcam-down"]))
    assert up.shape == down.shape == (150, 170)
    assert max(up.max(), down.max()) == 1


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_randomising_keeps_the_values_and_begins_at_the_head(run_folder, share):
    model = open_model(str(run_folder))
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    after = model.randomised(share, np.random.default_rng(0)).network.state_dict()
    changed = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
    for name, tensor in before.items():
        torch.testing.assert_close(tensor.flatten().sort().values, after[name].flatten().sort().values)
        torch.testing.assert_close(tensor, model.network.state_dict()[name])  # the model itself stays
    assert any(name.startswith("head.") for name in changed)
    weights = [name for name in before if name.startswith("backbone") and name.endswith("conv1.weight")]
    assert [name in changed for name in (weights[0], weights[-1])] == [share == 1, share > 0]


def test_gradcam_is_zero_where_a_randomised_score_no_longer_depends_on_the_layer(run_folder, monkeypatch):
    def no_gradient(*_given):
        raise OptionError("the score does not depend on the output of this layer")

    model = open_model(str(run_folder))
    monkeypatch.setattr(trained, "gradcam", no_gradient)
    with pytest.raises(OptionError, match="does not depend"):
        model.maps(scene(), ["gradcam-up"])
    (found,) = model.randomised(1.0, np.random.default_rng(0)).maps(scene(), ["gradcam-up"])
    assert not found.values.any()


def test_models_that_cannot_be_opened(tmp_path, run_folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match=r"neither model\.safetensors nor model\.onnx"):
        open_model(str(tmp_path / "empty"))
    with pytest.raises(OptionError, match="no such model file"):
        open_model(str(tmp_path / "none.safetensors"))
    with pytest.raises(OptionError, match="exported model, whose layers"):
        open_model("default", Options(layer="conv1"))
    with pytest.raises(OptionError, match="unknown model 'defualt'"):
        open_model("defualt")
    with pytest.raises(OptionError, match="takes crops of 64"):
        open_model(str(run_folder), Options(crop=80))
    with pytest.raises(OptionError, match="at least 32"):
        open_model("default", Options(crop=8))
    with pytest.raises(OptionError, match="no layer 'layer7': possible are"):
        open_model(str(run_folder), Options(layer="layer7"))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"broken\.card\.json"):
        open_model(str(broken))


def test_a_pooled_head_has_no_window_by_attention(tmp_path):
    model = open_model(str(save_model(tmp_path / "pooled", head="pooled")))
    with pytest.raises(OptionError, match="take it by activation"):
        model.maps(scene(), ["window"])
