"""Floor 0: frozen values and contracts. Imports the standard library and msgspec, nothing else."""
