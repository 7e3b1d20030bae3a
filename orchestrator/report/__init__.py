"""The evidence report: a bundle as pages that a person can look at, with the power of every run drawn."""
