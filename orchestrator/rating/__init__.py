"""Rating: from signed results to footprints, stars, editions, and the documents that people read them in."""
