"""Conformance: what a vendor can find out alone, under the operator's own profile, before anything is handed in."""
