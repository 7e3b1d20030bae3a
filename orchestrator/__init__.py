"""Does it: runs sealed images, meters them from outside, signs and logs what it saw."""

__version__ = "0.1.0"
