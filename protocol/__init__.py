"""What everybody agreed on: formats, rules and formulas, pure apart from the wire."""
