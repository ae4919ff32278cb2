"""Objectives and alerts: how fast error budgets burn, what wants somebody, and who is told."""
