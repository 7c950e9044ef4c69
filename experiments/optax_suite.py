"""Do Optax's own tests pass with our optimizers in the place of Optax's?

Each test module of Optax's wheel that tests something we have is executed as it is, except that it sees our factories
where it looks up Optax's: in `optax`, in `optax.contrib`, and in the modules behind them. Optax itself goes on with its
own. Nothing is deselected: a test that must fail because we differ on purpose is in `DEVIATIONS`, runs like the others,
and has to fail. The exit code is 1 if any other test fails.

    python experiments/optax_suite.py              every test, in one process per core
    python experiments/optax_suite.py adam lion    the tests that name one of these optimizers
"""

import builtins
import importlib
import importlib.util
import multiprocessing
import os
import re
import sys
import types
import unittest
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from sandbox import optimizers
from sandbox.types import Scalar, Schedule

benchmark = True
MODULES = {  # and which optimizers each is about; where none is said, the name of a test says it
    "optax._src.alias_test": (),
    "optax._src.linesearch_test": ("lbfgs",),
    "optax._src.lookahead_test": ("lookahead",),
    "optax.contrib._common_test": (),
    "optax.contrib._complex_valued_test": ("split_real_and_imaginary",),
    "optax.contrib._galore_test": ("galore",),
    "optax.contrib._mechanic_test": ("mechanize",),
    "optax.contrib._muon_test": ("muon",),
    "optax.contrib._privacy_test": ("dpsgd",),
    "optax.contrib._reduce_on_plateau_test": ("reduce_on_plateau",),
    "optax.contrib._sam_test": ("sam", "normalize"),
    "optax.contrib._schedule_free_test": ("schedule_free", "schedule_free_sgd", "schedule_free_adamw"),
}
OURS = {name: getattr(optimizers, name) for name in optimizers.names()} | {  # what Optax calls otherwise
    "differentially_private_aggregate": optimizers.differentially_private_aggregate,
    "hutchinson_estimator_diag_hessian": optimizers.hutchinson_estimator_diag_hessian,
    "scale_by_backtracking_linesearch": optimizers.backtracking,
    "scale_by_zoom_linesearch": optimizers.zoom,
    "schedule_free_eval_params": optimizers.eval_params,
    "ScalarOrSchedule": Scalar | Schedule,
}
DEVIATIONS = {  # pattern of a test's id: why it must fail
    r"_galore_test.*test_3d_memory_reduction": "it looks into the state, whose layout is another",
    r"_muon_test.*test_dim_nums_combinations": "it looks into the state, whose layout is another",
    r"linesearch_test.*raises_on_unused_extra_args": "every update takes keywords that it does not know",
    r"ZoomLinesearchTest.test_failure_(descent_direction|flat_fun|too_small_max_stepsize)": "other words",
}


class Outcome(NamedTuple):
    """One test: its id, and passed, skipped or failed, with the last line of what it said."""

    test: str
    verdict: str
    said: str


class View(types.ModuleType):
    """A module of Optax as a test sees it: with our factories in it, and views of the modules in it."""

    def __init__(self, module: types.ModuleType) -> None:
        super().__init__(module.__name__)
        self.__dict__["_module"] = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        if name in OURS and not isinstance(value, types.ModuleType):
            return OURS[name]
        of_optax = isinstance(value, types.ModuleType) and value.__name__.split(".")[0] == "optax"
        return View(value) if of_optax else value


def seen(name: str, scope: Any = None, within: Any = None, wanted: Any = (), level: int = 0) -> Any:
    """`import` for a test: views of Optax's modules, and all others as they are."""
    module = builtins.__import__(name, scope, within, wanted or (), level)
    return View(module) if name.split(".")[0] == "optax" else module


def tests_of(module: str) -> list[unittest.TestCase]:
    """The tests of one of Optax's test modules, executed with our factories in sight."""
    path = importlib.util.find_spec(module).origin  # type: ignore[union-attr]
    copy = types.ModuleType(module)
    copy.__dict__.update(__file__=path, __builtins__={**vars(builtins), "__import__": seen})
    sys.modules[module] = copy
    with open(path, encoding="utf-8") as file:  # type: ignore[arg-type]
        exec(compile(file.read(), path, "exec"), copy.__dict__)
    suites = list(unittest.defaultTestLoader.loadTestsFromModule(copy))
    return [test for suite in suites for test in suite]  # type: ignore[union-attr, misc]


def about(module: str, test: str, names: list[str]) -> bool:
    """Whether a test of this id names one of the optimizers; all do where none is asked for."""
    named = lambda name: re.search(rf"(name='|\.){re.escape(name)}('|test\b)", test, re.IGNORECASE)
    return not names or any(name in MODULES[module] or named(name) for name in names)


class Record(unittest.TestResult):
    """Outcomes; a test fails once, however many of its parts do."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, Outcome] = {}

    def note(self, test: Any, verdict: str, said: str = "") -> None:
        name = test.id()
        if self.outcomes.get(name, Outcome(name, "", "")).verdict != "failed":
            self.outcomes[name] = Outcome(name, verdict, said)

    def addSuccess(self, test: Any) -> None:
        self.note(test, "passed")

    def addSkip(self, test: Any, reason: str) -> None:
        self.note(test, "skipped", reason)

    def addFailure(self, test: Any, error: Any) -> None:
        self.note(test, "failed", f"{error[0].__name__}: {str(error[1]).strip()}")

    def addError(self, test: Any, error: Any) -> None:
        self.addFailure(test, error)

    def addSubTest(self, test: Any, part: Any, error: Any) -> None:
        if error is not None:
            self.addFailure(test, error)


def share(names: list[str], number: int, shares: int) -> list[Outcome]:
    """Every n-th of all tests that name one of the optimizers, run in this process."""
    from absl import flags

    flags.FLAGS(["test"])
    found = [(module, test) for module in MODULES for test in tests_of(module)]
    chosen = [test for module, test in found if about(module, test.id(), names)][number::shares]
    record = Record()
    for test in chosen:
        test(record)
    return list(record.outcomes.values())


def judged(outcome: Outcome) -> str:
    """The verdict in the light of the deviations: a listed test has to fail."""
    listed = any(re.search(pattern, outcome.test) for pattern in DEVIATIONS)
    if listed and outcome.verdict != "skipped":
        return "deviates" if outcome.verdict == "failed" else "passed, but listed as a deviation"
    return outcome.verdict


def main(names: list[str], run: Callable[..., Any] = share) -> int:
    """Run, print the counts and whatever failed without being listed; 1 if anything did."""
    for name in names:
        optimizers.find(name)
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        shares = [pool.submit(run, names, number, cores) for number in range(cores)]
        outcomes = [outcome for part in shares for outcome in part.result()]
    bad = [outcome for outcome in outcomes if judged(outcome) not in ("passed", "skipped", "deviates")]
    for outcome in sorted(bad):
        print(f"{judged(outcome)}: {outcome.test}\n    {' '.join(outcome.said.split())[:300]}")
    counts = Counter(map(judged, outcomes))
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "no test names these")
    return int(bool(bad) or not outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
