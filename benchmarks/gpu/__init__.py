"""What a machine's GPU does with kdstudy, measured within minutes: see `benchmarks.gpu.__main__`."""
