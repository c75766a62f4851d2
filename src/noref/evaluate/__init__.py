"""Metrics of predictions, how sure they are, how data sets are split, and what papers print; knows no model."""
