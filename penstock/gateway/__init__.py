"""The gateway: one live request, room by room. ``chat.py`` is the way, on one screen."""
