"""Penstock: large language models in production, from one file and one process."""
