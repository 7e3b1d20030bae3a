"""Metering: instruments outside the container, sampled by a process of their own."""
