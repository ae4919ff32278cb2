"""Observe: where facts go. Each sink is one file; none of them ever blocks or fails the request that it hears of."""
