"""Networks: backbones, heads, what they are built from, and their files."""
