"""A feature space as a picture, with the metrics that a picture cannot prove. Behind `noref embed`."""
