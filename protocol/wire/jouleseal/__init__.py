"""The schema of package jouleseal and the code generated from it."""
