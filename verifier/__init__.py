"""Doubts it: recomputes every figure from evidence and believes nothing that it can derive."""
