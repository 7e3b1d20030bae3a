"""One file per command of the front door."""
