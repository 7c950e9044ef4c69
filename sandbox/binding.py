"""What a command is given: names and settings as a problem, an optimizer, and the axes of a sweep."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Bound(NamedTuple):
    """What names and settings on the command line mean: problem(**point) and method(**point), and the axes."""

    problem: Callable[..., Any]
    method: Callable[..., Any]
    axes: dict[str, Any]


def bind(problem: str, optimizer: str, set_: list[str] | None, axes: dict[str, Any]) -> Bound:
    """Problem and optimizer at any point of the axes, with the settings filled in; everything is checked first."""
    from sandbox import lookup, problems
    from sandbox import optimizers as catalogue

    make_problem = lookup.named("problem", problem, problems, problems.names())
    make_optimizer = lookup.named("optimizer", optimizer, catalogue, catalogue.names())
    fixed = lookup.settings(set_ or [])
    own = inspect.signature(make_problem).parameters
    for name in axes:
        if name in fixed or name == "seed":
            other = "seeds are given by --seeds" if name == "seed" else f"it is also given by --set {name}=…"
            raise ValueError(f"--axis {name}=…: {other}; give it once")
    given = {**{name: [value] for name, value in fixed.items()}, **axes}
    mine = {name for name in given if name in own}
    lookup.accepts("optimizer", optimizer, make_optimizer, [name for name in given if name not in mine])
    axes = {**lookup.traceable(make_optimizer, axes), **lookup.traceable(make_problem, pick(axes, mine))}
    lookup.numeric("problem", problem, make_problem, pick(given, mine))
    lookup.numeric("optimizer", optimizer, make_optimizer, given)
    if "learning_rate" in inspect.signature(make_optimizer).parameters and "learning_rate" not in given:
        needed = inspect.signature(make_optimizer).parameters["learning_rate"].default is inspect.Parameter.empty
        if needed:
            raise ValueError(f"{optimizer} needs a learning rate: --set learning_rate=0.1, or --axis in a sweep")
    built = None if mine & axes.keys() else make_problem(**pick(fixed, mine))
    return Bound(
        lambda **point: built or make_problem(**pick({**fixed, **point}, mine)),
        lambda **point: make_optimizer(**{n: v for n, v in {**fixed, **point}.items() if n not in mine}),
        axes,
    )


def trainer(bound: Bound, steps: int, batch_size: int | None) -> Callable[..., Any]:
    """train(seed, **axes): the run at one point."""
    from sandbox import engine

    def train(seed: Any, **point: Any) -> Any:
        import jax

        key = jax.random.key(seed)
        return engine.run(bound.problem(**point), bound.method(**point), steps=steps, batch_size=batch_size, key=key)

    return train


def in_pieces(bound: Bound, steps: int, batch_size: int | None, seed: int, checkpoint: Path, save_every: int) -> Any:
    """One run that is kept on disk as it goes."""
    import jax

    from sandbox import engine
    from sandbox.sweeps.progress import bar

    with bar(steps, True, "steps") as advance:
        reached = 0

        def told(step: int) -> None:
            nonlocal reached
            advance(step - reached)
            reached = step

        return engine.long_run(
            bound.problem(),
            bound.method(),
            steps=steps,
            batch_size=batch_size,
            key=jax.random.key(seed),
            checkpoint=checkpoint,
            save_every=save_every,
            told=told,
        )


def pick(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def problem_alone(problem: str, set_: list[str] | None) -> Any:
    """The problem that a name and its settings mean."""
    from sandbox import lookup, problems

    make = lookup.named("problem", problem, problems, problems.names())
    fixed = lookup.settings(set_ or [])
    lookup.accepts("problem", problem, make, fixed)
    lookup.numeric("problem", problem, make, {name: [value] for name, value in fixed.items()})
    return make(**fixed)
