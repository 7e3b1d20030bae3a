"""Schema version 1."""
