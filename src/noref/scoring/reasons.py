"""Why a picture is poor: the faults that a model sees in it, strongest first, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEAST = 0.05  # fainter ones are no reasons: a quarter of level 1
SHOWN = (
    0.25  # fainter ones are not put into words: a quarter of good photos have a fault above it, two fifths above 0.2
)
WORDS = {  # of the degradation model's 24 types
    "gaussian_blur": "blurred", "lens_blur": "out of focus", "motion_blur": "motion blur",
    "color_diffusion": "bleeding colours", "color_shift": "shifted colours", "color_saturation_hsv": "pale colours",
    "color_saturation_lab": "gaudy colours", "jpeg2000": "JPEG 2000 compression", "jpeg": "JPEG compression",
    "white_noise": "noise", "white_noise_color": "colour noise", "impulse_noise": "dots",
    "multiplicative_noise": "speckle noise", "brighten": "too bright", "darken": "too dark",
    "mean_shift": "shifted brightness", "jitter": "jittered pixels", "non_eccentricity_patch": "displaced patches",
    "pixelate": "pixelated", "quantization": "too few tones", "color_block": "blocks of colour",
    "high_sharpen": "oversharpened", "contrast_linear_curve": "wrong contrast", "contrast_nonlinear": "low contrast",
}  # fmt: skip
STRENGTHS = ((0.7, "strong"), (0.4, "moderate"), (0.0, "slight"))  # lowest severity, word


@dataclass(frozen=True)
class Reason:
    """A fault of a picture.

    Example:
        >>> print(Reason("motion_blur", "blur", 0.81))
        motion blur (strong)
    """

    name: str  # a type of the degradation model: a key of `noref.degrade.pipeline.DISTORTIONS`
    group: str  # one of its seven groups
    severity: float  # in [0, 1]: level / 5 of the degradation model; 0.4 and more is more than slight

    def __str__(self) -> str:
        strength = next(word for lowest, word in STRENGTHS if self.severity >= lowest)
        return f"{WORDS.get(self.name, self.name.replace('_', ' '))} ({strength})"


def reasons_of(severities: Sequence[float], groups: Mapping[str, str]) -> list[Reason]:
    """Faults that are there, strongest first.

    Types of one group may be there together where the model cannot tell them apart.

    Args:
        severities: (T,) in [0, 1].
        groups: T types, in their order, each with its group.

    Example:
        >>> [str(reason) for reason in reasons_of([0.04, 0.3, 0.9], {"jpeg": "compression", "darken": "brightness",
        ...     "lens_blur": "blur"})]
        ['out of focus (strong)', 'too dark (slight)']
    """
    found = [
        Reason(name, group, round(min(1.0, max(0.0, float(severity))), 4))
        for (name, group), severity in zip(groups.items(), severities, strict=True)
        if severity >= LEAST
    ]
    return sorted(found, key=lambda reason: -reason.severity)


def in_words(reasons: Sequence[Reason], most: int = 3) -> str:
    """The strongest of each group, a line for people; empty where nothing is worth a word.

    Example:
        >>> in_words([Reason("lens_blur", "blur", 0.8), Reason("motion_blur", "blur", 0.7)])
        'out of focus (strong)'
    """
    of_group: dict[str, Reason] = {}
    for reason in reasons:
        if reason.severity >= SHOWN:
            of_group.setdefault(reason.group, reason)
    return ", ".join(str(reason) for reason in list(of_group.values())[:most])
