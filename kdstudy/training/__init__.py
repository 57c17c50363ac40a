"""One distillation run: the loop, its random streams, schedules, probe, evaluation and checkpoints (torch only)."""
