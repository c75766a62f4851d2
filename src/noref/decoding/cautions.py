"""What makes a picture doubtful although it is decoded, in a few words each.

A caution is *damage* where pixels are missing or wrong. All others are notes: which picture of a file was decoded, or
that its colours may be off.
"""

from __future__ import annotations

CUT = "the JPEG is cut: a part of the picture is missing"
HOLED = "the JPEG has a hole: a run of zeros in its data"
RAW_CUT = "the raw file is cut: a part of the picture is missing"
AVIF_DOUBTFUL = "the AVIF may be damaged: OpenCV does not decode it"
UNKNOWN = "not checked for cautions: scored by an earlier version"
PROFILE = "broken colour profile ignored"
TRIMMED = "margin trimmed: "
DAMAGE = frozenset({CUT, HOLED, RAW_CUT, AVIF_DOUBTFUL})  # `noref score --strict` makes an error of these


def is_damage(caution: str | None) -> bool:
    """Whether a row's cautions, joined with `; `, say that pixels are missing or wrong."""
    return caution is not None and not DAMAGE.isdisjoint(caution.split("; "))
