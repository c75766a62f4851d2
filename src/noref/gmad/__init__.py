"""Two models against each other on the images where they disagree most. Behind `noref gmad`."""
