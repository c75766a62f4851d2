"""A feature space as a t-SNE plot, with the metrics that the plot alone does not show. Behind `noref embed`."""
