"""Driving: queries go in over the wire, answers and a timeline come out."""
