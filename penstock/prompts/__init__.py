"""Prompts: what a service says to its model before the client does. Values; nothing here reads a file or a clock.

``config`` has the parts of a prompt, ``values`` what clients put into it, ``language`` and ``templates`` what it is
written in, ``versions`` what makes it immutable, ``expectations`` what its own tests expect.
"""

from __future__ import annotations

from penstock.prompts.config import Prompt

__all__ = ["Prompt"]
