"""Releases of real gateways: changed under load, taken back, killed in between."""
