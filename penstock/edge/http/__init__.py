"""HTTP: sockets to calls and replies to sockets."""
