"""The command line: one file per command, each imported on first use."""
