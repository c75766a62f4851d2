"""Losses on tensors; know no model."""
