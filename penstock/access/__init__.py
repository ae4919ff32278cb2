"""Access: who may call, and how much. ``keys`` says whose key was presented; only its HMAC is ever kept."""
