"""A simulated laboratory: instruments that act on simulated matter whose physics is the potential CHGNet."""
