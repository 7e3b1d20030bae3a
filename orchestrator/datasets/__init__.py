"""Where the points of the standard tasks come from: locked packages, the hub or a user's own folder, one form for all."""
