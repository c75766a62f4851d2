"""The embedded model's network against timm's own and against plain arithmetic."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch

from noref.errors import ModelError
from noref.models.stages import FoldedConv, RidgeHead, StageRegressor, cnn_stages, statistics

NETWORKS = {
    "TensorFlow's padding": ("mobilenetv2_100", {"pad_type": "same"}),
    "plain padding": ("mobilenetv2_100", {}),
    "kernels of 5": ("tf_efficientnet_lite0", {}),
}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return make_network(request.param)


def make_network(kind):
    """A network of timm's with batch norms that do something."""
    torch.manual_seed(0)
    name, options = NETWORKS[kind]
    net = timm.create_model(name, pretrained=False, num_classes=7, **options).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.8, 1.2)
    return net


@pytest.fixture(scope="module")
def stages(network):
    return cnn_stages(copy.deepcopy(network))


@torch.no_grad()
def test_folded_stages_are_timms_network_at_even_sizes(network, stages):
    image = torch.rand(2, 3, 64, 96) * 2 - 1
    x = image
    for stage in stages:
        x = stage(x)
    torch.testing.assert_close(x, network.forward_features(image), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_plain_padding_is_timms_at_odd_sizes_too():
    network = make_network("plain padding")
    stages = cnn_stages(copy.deepcopy(network))
    image = torch.rand(1, 3, 63, 50)
    torch.testing.assert_close(
        torch.nn.Sequential(*stages)(image), network.forward_features(image), rtol=1e-3, atol=1e-3
    )


@torch.no_grad()
def test_the_detour_for_bfloat16_takes_the_same_pixels_whatever_the_side(stages):
    for size in ((64, 64), (63, 50), (33, 47)):
        x = torch.rand(1, 3, *size)
        with torch.autocast("cpu", torch.bfloat16):
            y = x
            for stage in stages[:4]:
                y = stage(y)
        for stage in stages[:4]:
            x = stage(x)
        assert y.shape == x.shape
        torch.testing.assert_close(y.float(), x, rtol=0.1, atol=0.05 * float(x.abs().max()))


def test_statistics_are_numpys_mean_and_deviation():
    x = torch.rand(2, 3, 5, 4)
    flat = x.numpy().reshape(2, 3, 20)
    expected = np.concatenate([flat.mean(2), np.sqrt(flat.var(2) + 1e-5)], axis=1)
    np.testing.assert_allclose(statistics(x).numpy(), expected, rtol=1e-5)


def test_the_ridge_is_scikit_learns():
    from sklearn.linear_model import Ridge

    torch.manual_seed(1)
    features, quality = torch.rand(12, 30), torch.rand(12)
    head = RidgeHead(30)
    head.fit(features, quality, alpha=2.0)
    scaled = ((features - features.mean(0)) / (features.std(0) + 1e-3)).numpy()
    expected = Ridge(alpha=2.0).fit(scaled, quality.numpy()).predict(scaled)
    np.testing.assert_allclose(head(features).detach().numpy(), expected, atol=1e-5)


def test_the_ridge_with_steps_is_the_minimum_that_scipy_finds():
    from scipy.optimize import minimize

    torch.manual_seed(2)
    features, quality, steps = torch.rand(10, 6), torch.rand(10), torch.randn(8, 6)
    head = RidgeHead(6)
    head.fit(features, quality, alpha=0.5, steps=steps, margin=0.3)
    x = ((features - features.mean(0)) / (features.std(0) + 1e-3)).double().numpy()
    scaled, wanted = (steps / (features.std(0) + 1e-3)).double().numpy(), (quality - quality.mean()).double().numpy()

    def cost(weight):
        missing = np.maximum(0.0, 0.3 - scaled @ weight)
        return ((x @ weight - wanted) ** 2).sum() + 0.5 * (weight**2).sum() + (missing**2).sum()

    best = minimize(cost, np.zeros(6), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(head.weight.detach().numpy(), best.x, atol=1e-4)


@torch.no_grad()
def test_a_head_with_a_curve_is_the_logistic_of_the_line():
    from scipy.special import expit

    head = RidgeHead(3)
    torch.nn.init.normal_(head.weight)
    features = torch.randn(5, 3)
    line = head(features).numpy()
    head.set_curve(bottom=-0.1, top=1.1, centre=0.4, width=0.3)
    np.testing.assert_allclose(head(features).numpy(), -0.1 + 1.2 * expit((line - 0.4) / 0.3), rtol=1e-5)
    with pytest.raises(ModelError, match="rise"):
        head.set_curve(bottom=1.0, top=0.0, centre=0.4, width=0.3)


@torch.no_grad()
def test_frozen_and_tuned_parts_together_are_the_whole(stages):
    model = StageRegressor(stages, frozen=4).eval()
    torch.nn.init.normal_(model.head.weight, std=0.01)
    image = torch.randint(0, 256, (2, 64, 80, 3), dtype=torch.uint8)
    parts = torch.cat([model.head(model.features(*model.frozen_features(one[None]))) for one in image])
    torch.testing.assert_close(model(image), parts, rtol=1e-4, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in model.frozen_stages.parameters())
    assert all(parameter.requires_grad for parameter in model.tuned_stages.parameters())


def test_a_batch_norm_without_statistics_is_refused():
    conv, norm = torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(ModelError, match="running statistics"):
        FoldedConv(conv, norm)


@torch.no_grad()
def test_pixels_are_normalised_as_the_weights_expect(stages):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    model = StageRegressor(stages, frozen=4, mean=mean, std=std).eval()
    image = torch.randint(0, 256, (1, 64, 80, 3), dtype=torch.uint8)
    x = (image.permute(0, 3, 1, 2) / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(
        model.frozen_features(image)[0], torch.nn.Sequential(*stages[:4])(x), rtol=1e-3, atol=1e-3
    )


def test_a_cut_that_leaves_a_side_empty_is_refused(stages):
    with pytest.raises(ModelError, match="frozen"):
        StageRegressor(stages, frozen=9)
