"""Control: the loops in the background that keep a deployment as it is wanted. They belong to the supervisor."""
