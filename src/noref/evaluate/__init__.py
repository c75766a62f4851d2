"""Numbers from predictions; knows no model."""
