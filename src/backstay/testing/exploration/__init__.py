"""Schedule exploration: prove asyncio code under the orders that production may bring.

One strategy per file; `_exploring_loop` says what is permuted and what is not.
"""

from backstay.testing.exploration._explore import explore, replay
from backstay.testing.exploration._exploring_loop import ExploringLoop, StepBudgetExceeded
from backstay.testing.exploration._statistics import Exploration

__all__ = ["Exploration", "ExploringLoop", "StepBudgetExceeded", "explore", "replay"]
