"""What the student learns from the teacher: one file a method, over `kdstudy.transfer.base.Transfer`."""
