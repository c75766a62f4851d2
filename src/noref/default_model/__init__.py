"""How the model inside the package is made: a product, no paper."""
