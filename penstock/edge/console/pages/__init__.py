"""The pages of the console, a module for each kind. Each gives its ``ROUTES``."""
