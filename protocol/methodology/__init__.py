"""The method: what is measured, how it is counted and how it is combined; pure functions and frozen tables."""
