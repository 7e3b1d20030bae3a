"""The record: keys, the log with its single writer, the local witness, the signing of statements."""
