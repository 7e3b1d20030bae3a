"""The revision of the schema; made from it by `python -m protocol.wire.generate`."""

SCHEMA_REVISION = 2
