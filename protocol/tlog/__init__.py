"""The transparency log's formats: Merkle tree, signed notes, checkpoints, tiles, leaves."""
