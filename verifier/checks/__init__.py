"""One claim, one file: each check takes established facts and returns one more, or raises what it found to be false."""
