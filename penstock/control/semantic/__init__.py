"""Answers that may serve other questions: desks, one for each scope, with their entries and proofs."""
