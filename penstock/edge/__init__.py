"""The edge: speaks to sockets and people."""
