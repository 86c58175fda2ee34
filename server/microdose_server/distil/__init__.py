"""Distillation: the generic student of a teacher, and the dose that specialises it to one sequence."""
