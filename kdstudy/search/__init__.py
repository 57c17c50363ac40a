"""Run a study on Ray Tune: what to run next, where it runs, and what becomes of its reports.

`queue` decides (from the ledger alone), `worker` runs in Ray's processes, `tune` adapts both to Ray Tune, `execution`
runs the one on the other, `recording` writes down what comes of it (through `scribe`, in the background), `preemption`
ends workers at a safe point, `preparation` sees to teacher and data, `driver` holds the whole together.
"""
