"""Evaluating: the quality of every response of every run, and the commitment to the responses."""
