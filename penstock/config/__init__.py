"""The deployment file: ``penstock.yaml`` to the rooms' own config structs, every mistake by its line.

The structs live in the rooms (``<room>/config.py``); nothing here knows their fields, but ``masking`` those that hold
secrets, so a new field or a new engine needs no change here. Importing this imports nothing heavy.
"""

from __future__ import annotations

from penstock.config.deployment import DeploymentFile, models_of, services_of
from penstock.config.environment import home, locate
from penstock.config.loading import EMBEDDED, SENT, Loaded, embedded, load, loaded, read, text
from penstock.config.masking import masked
from penstock.config.mistakes import ConfigErrors, Mistake
from penstock.config.prompts import folder, prompt, references

__all__ = [
    "EMBEDDED",
    "SENT",
    "ConfigErrors",
    "DeploymentFile",
    "Loaded",
    "Mistake",
    "embedded",
    "folder",
    "home",
    "load",
    "loaded",
    "locate",
    "masked",
    "models_of",
    "prompt",
    "read",
    "references",
    "services_of",
    "text",
]
