"""gMAD: two models against each other, on the images about which they disagree most. Behind `noref gmad`."""

from noref.gmad.selection import select_pairs as select_pairs
