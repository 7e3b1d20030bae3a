"""Where the points of the tasks come from: locked packages, the hub or a user's own folder, in one form for all."""
