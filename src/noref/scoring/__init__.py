"""Scores without torch: ONNX Runtime, and the export to it."""
