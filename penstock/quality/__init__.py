"""How good answers are: what scores them, and when scores are enough to decide a rollout. Pure, and deterministic."""
