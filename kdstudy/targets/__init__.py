"""What students are taught with: the teacher's outputs, computed in each step or kept for the trials of a study."""
