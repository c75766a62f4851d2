"""One paper is one page."""
