"""Whether production answers as the sealed image did: the auditor's comparison, and whom it asks."""
