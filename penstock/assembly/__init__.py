"""Assembly: the one place that wires. ``supervisor`` is what ``penstock up`` runs, ``worker`` what that starts."""
