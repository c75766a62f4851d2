"""A model's scores brought to one's own labels: ridge regression on its features, without torch."""
