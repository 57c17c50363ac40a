"""Studies in Python: run them, read them, compare them; `kdstudy` offers it.

It calls what the command line calls, so that the two cannot differ. Reading imports no torch.
"""

from kdstudy.api.callbacks import Callback, TrialCallback
from kdstudy.api.comparison import Comparison
from kdstudy.api.reading import compare, load_study, studies
from kdstudy.api.running import check, run
from kdstudy.api.study import Study
from kdstudy.api.trial import Trial

__all__ = [
    "Callback",
    "Comparison",
    "Study",
    "Trial",
    "TrialCallback",
    "check",
    "compare",
    "load_study",
    "run",
    "studies",
]
