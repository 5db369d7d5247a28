"""Several processes that serve as one: the supervisor in the parent, and what a worker needs to be one of them."""
