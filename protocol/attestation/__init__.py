"""Attestation layers: digests, canonical JSON, in-toto statements, DSSE envelopes, bundles, keyrings."""
