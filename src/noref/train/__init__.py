"""The visible training loop and its state; knows no paper."""
