"""noref: no-reference image quality assessment."""
