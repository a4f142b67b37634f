"""A package of its own, as one of our dependencies installs another of that name."""
