"""What the admin API does: pure operations over the directory, a file per resource, and who carries them out."""
