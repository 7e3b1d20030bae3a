"""Launching: an image becomes a sandbox under one launch profile, applied, read back and compared."""
