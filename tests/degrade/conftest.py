from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter


@pytest.fixture(scope="session")
def scene():
    """(72, 96, 3) float32 in [0, 1]: smooth colours, edges, fine texture, pure black and white; no symmetry."""
    rng = np.random.default_rng(7)
    smooth = gaussian_filter(rng.random((72, 96, 3)), (9, 9, 0))
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    smooth[20:44, 30:70] = smooth[20:44, 30:70][..., ::-1] * 0.6
    smooth[50:, 60:] += 0.15 * rng.standard_normal((22, 36, 3))
    smooth[:6, :6], smooth[:6, 6:12] = 0.0, 1.0
    result = np.clip(smooth, 0, 1).astype(np.float32)
    result.flags.writeable = False
    return result


@pytest.fixture
def rng():
    return np.random.default_rng(11)
