"""Routing: which replica gets a request. Pure decisions over what is known; nothing here does I/O."""
