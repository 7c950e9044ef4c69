"""Each optimizer beside its Optax twin, step by step in double precision: what `sandbox validate` prints."""

import functools
import inspect
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from sandbox import tree
from sandbox.optimizers import catalogue
from sandbox.optimizers.base import Optimizer, made, transformation
from sandbox.optimizers.schedules import cosine_decay, exponential_decay
from sandbox.types import Array, Params, Schedule

STEPS = 13
TOLERANCE = 1e-9  # relative, in float64: room for another order of rounding, none for another formula
SHAPES = {"block": (128, 130), "bias": (5,)}
DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
CURVES = {  # φ, of the losses scale · Σ φ(x − centre, slope)
    "linear": lambda u, s: s * u,
    "quadratic": lambda u, s: s**2 * u**2 / 2,
    "waves": lambda u, s: s**2 * (1 - jnp.cos(u)),
}
RANGES = {  # where parity looks for each argument, away from its default
    "learning_rate": (0.01, 0.3),
    "weight_decay": (0.02, 0.3),
    "b1": (0.6, 0.85),
    "b2": (0.7, 0.95),
    "b3": (0.7, 0.98),
    "decay": (0.5, 0.85),
    "momentum": (0.4, 0.8),
    "eps": (1e-4, 1e-2),
    "eps_root": (1e-5, 1e-3),
}


class Row(NamedTuple):
    """The verdict on one optimizer."""

    name: str
    paper: str
    twin: str
    cases: int
    worst: float  # the largest relative deviation of an update or a parameter, over all cases and steps
    dtypes: bool  # updates keep the gradient's dtype, the state its own, and zero gradients are harmless
    traced: bool  # every float hyper-parameter may be a tracer, and the trajectory stays the same
    deviations: str
    passed: bool


def validate(names: Iterable[str] | None = None) -> list[Row]:
    """A row for each of the named optimizers, or for all. Raises ValueError for an unknown name."""
    return list(rows(names))


def rows(names: Iterable[str] | None = None) -> Iterator[Row]:
    """The rows of `validate`, one after the other as they are ready."""
    chosen = catalogue.names() if names is None else list(names)
    entries = [catalogue.find(name) for name in chosen]
    return (_row(name, entry) for name, entry in zip(chosen, entries, strict=True))


def twin(name: str) -> tuple[Callable[..., Any], str]:
    """The Optax factory that takes the same arguments and must agree, and what it is called."""
    import optax
    import optax.contrib

    if name in TWINS:
        return TWINS[name](optax)
    module = optax.contrib if hasattr(optax.contrib, name) else optax
    return getattr(module, name), name


TWINS: dict[str, Callable[[Any], tuple[Callable[..., Any], str]]] = {  # where it goes by another name or is wrong
    "gradient_descent": lambda optax: (optax.sgd, "sgd"),
    "heavy_ball": lambda optax: (
        lambda learning_rate, momentum=0.9, accumulator_dtype=None: optax.sgd(
            learning_rate, momentum, False, accumulator_dtype
        ),
        "sgd(momentum)",
    ),
    "nesterov": lambda optax: (
        lambda learning_rate, momentum=0.9, accumulator_dtype=None: optax.sgd(
            learning_rate, momentum, True, accumulator_dtype
        ),
        "sgd(momentum, nesterov)",
    ),
    "optimistic_gradient_descent": lambda optax: (
        _told(optax.inject_hyperparams(optax.optimistic_gradient_descent), alpha=_exact, beta=_exact),
        "optimistic_gradient_descent",
    ),
    "polyak_sgd": lambda optax: (_polyak_sgd(optax), "scale_by_polyak, then sgd"),
    "noisy_sgd": lambda optax: (
        lambda learning_rate, key=None, seed=0, **rest: optax.noisy_sgd(
            learning_rate, key=seed if key is None else key, **rest
        ),
        "noisy_sgd",
    ),
    "dpsgd": lambda optax: (_dpsgd(optax), "dpsgd"),
    "ema_momentum": lambda optax: (
        lambda learning_rate, decay=0.9: optax.chain(
            optax.ema(decay, debias=False), optax.scale_by_learning_rate(learning_rate)
        ),
        "ema, scaled",
    ),
    "muon": lambda optax: (
        _told(
            optax.contrib.muon,
            muon_weight_dimension_numbers=lambda f: _axes_as(optax.contrib.MuonDimensionNumbers, f),
        ),
        "muon",
    ),
    "galore": lambda optax: (
        _told(
            optax.contrib.galore,
            base_optimizer=made,
            weight_dimension_numbers=lambda f: _axes_as(optax.contrib.GaLoreDimensionNumbers, f),
        ),
        "galore",
    ),
    "adadelta": lambda optax: (
        lambda learning_rate=None, **rest: optax.adadelta(learning_rate or 1.0, **rest),
        "adadelta",
    ),
    "adan": lambda optax: (_adan(optax), "adan, β₂ for 1 − β₂"),
    "lookahead": lambda optax: (_slow_in_state(optax), "lookahead"),
    "schedule_free": lambda optax: (
        _told(_counted_from_zero(optax.contrib.schedule_free), base_optimizer=made),
        "schedule_free, counted from 0",
    ),
    "schedule_free_sgd": lambda optax: (
        _counted_from_zero(optax.contrib.schedule_free_sgd),
        "schedule_free_sgd, counted from 0",
    ),
    "schedule_free_adamw": lambda optax: (
        _counted_from_zero(optax.contrib.schedule_free_adamw),
        "schedule_free_adamw, counted from 0",
    ),
    "sophia": lambda optax: (_told(optax.contrib.sophia, hessian_diagonal_fn=made), "sophia"),
    "cocob": lambda optax: (_cocob(optax), "cocob, then the rate"),
    "mechanize": lambda optax: (_told(optax.contrib.mechanize, base_optimizer=made), "mechanize"),
    "split_real_and_imaginary": lambda optax: (
        _told(optax.contrib.split_real_and_imaginary, inner=made),
        "split_real_and_imaginary",
    ),
    "sam": lambda optax: (_told(optax.contrib.sam, optimizer=made, adv_optimizer=made), "sam"),
}


def _polyak_sgd(optax: Any) -> Callable[..., Any]:
    """Optax's Polyak step, scaled after it is found: before, as in polyak_sgd, the gradient grows and the step falls."""
    return lambda max_learning_rate=1.0, scaling=1.0, f_min=0.0, eps=0.0, variant="sps": optax.chain(
        optax.scale_by_polyak(f_min, max_learning_rate, eps, variant), optax.sgd(scaling)
    )


def _exact(value: Any) -> Any:
    """A schedule in the widest precision there is: α + β of two in float32 would be rounded; a number is itself."""
    return (lambda count: jnp.asarray(value(count), float)) if callable(value) else value


def _dpsgd(optax: Any) -> Callable[..., Any]:
    """Optax's DP-SGD, which warns whatever it is given, by its parts."""
    return lambda learning_rate, l2_norm_clip, noise_multiplier, seed, momentum=None, nesterov=False: optax.chain(
        optax.contrib.differentially_private_aggregate(l2_norm_clip, noise_multiplier, seed),
        optax.sgd(learning_rate, momentum, nesterov),
    )


def _adan(optax: Any) -> Callable[..., Any]:
    """Optax's Adan with the paper's weight of differences: its own text, with this one term in its place."""
    from optax._src import transform

    scale = _reworded(transform.scale_by_adan, {"1 - b2, diff": "b2, diff", "1 - b2, v_hat": "b2, v_hat"})
    return lambda learning_rate, *args, weight_decay=0.0, mask=None, eps_root=1e-8, **kwargs: optax.chain(
        scale(*args, eps_root=eps_root, **kwargs),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )


def _reworded(function: Callable[..., Any], terms: dict[str, str]) -> Callable[..., Any]:
    """A function of another package with some terms of its text replaced; those that it no longer has are left out."""
    text = inspect.getsource(function)
    for theirs, right in terms.items():
        text = text.replace(theirs, right)
    scope = dict(vars(inspect.getmodule(function)))
    exec(compile(text, f"<{function.__name__}, reworded>", "exec"), scope)
    return scope[function.__name__]


def _counted_from_zero(factory: Callable[..., Any]) -> Callable[..., Any]:
    """Optax's schedule-free methods, whose count begins where the schedule of the base optimizer does, and which stay
    where they are as long as their rate is 0: Optax moves by what rounding leaves of y − y. b1 is in double precision,
    also where z is not."""

    def make(b1: Any = 0.9, **arguments: Any) -> Any:
        inner = factory(b1=jnp.asarray(b1, float), **arguments)

        def update(*args: Any, **extra: Any) -> tuple[Params, Any]:
            u, state = inner.update(*args, **extra)
            return jax.tree.map(lambda u: jnp.where(state.max_lr > 0, u, 0), u), state

        return transformation(lambda x: inner.init(x)._replace(step_count=jnp.zeros((), jnp.int32)), update)

    return make


def _slow_in_state(optax: Any) -> Callable[..., Any]:
    """Optax's lookahead on the fast params alone: the slow ones, which it leaves to its caller, in the state."""

    def make(fast_optimizer: Any, **arguments: Any) -> Any:
        inner = optax.lookahead(made(fast_optimizer), **arguments)

        def update(grads: Params, state: tuple, params: Params, **extra: Any) -> tuple[Params, tuple]:
            u, ahead = inner.update(grads, state[0], optax.LookaheadParams(params, state[1]))
            return u.fast, (ahead, tree.add(state[1], u.slow))

        return transformation(lambda params: (inner.init(optax.LookaheadParams(params, params)), params), update)

    return make


def _cocob(optax: Any) -> Callable[..., Any]:
    """Optax's COCOB, and after it the rate, which it would itself put before it, to no effect."""
    return lambda learning_rate=1.0, **arguments: optax.chain(
        optax.contrib.cocob(**arguments), optax.scale_by_learning_rate(learning_rate, flip_sign=False)
    )


def _told(factory: Callable[..., Any], **translations: Callable[[Any], Any]) -> Callable[..., Any]:
    """The factory, some of whose arguments are first translated from our words to Optax's."""
    say = lambda name, value: translations[name](value) if name in translations and value is not None else value
    return lambda **arguments: factory(**{name: say(name, value) for name, value in arguments.items()})


def _axes_as(record: Any, axes_of: Callable[[Params], Params]) -> Callable[[Params], Params]:
    """The function from params to the axes of each matrix, which come as this record."""
    named = lambda axes: hasattr(axes, "reduction_axis")
    return lambda params: jax.tree.map(lambda axes: record(*axes), axes_of(params), is_leaf=named)


def settings(name: str) -> list[dict[str, Any]]:
    """Arguments to compare with: the example; twice every number elsewhere, switches flipped and rates on a schedule;
    and the same once for each of the entry's variants."""
    entry = catalogue.find(name)
    parameters = inspect.signature(entry.factory).parameters
    rng = np.random.default_rng(zlib.crc32(name.encode()))

    def drawn(flip: bool) -> dict[str, Any]:
        arguments = dict(entry.example)
        for p in parameters.values():
            default = entry.example.get(p.name, p.default)
            if isinstance(default, bool):
                arguments[p.name] = default ^ flip
            elif p.name in (*RANGES, *entry.ranges) and (isinstance(default, int | float) or p.name in entry.ranges):
                number = float(rng.uniform(*{**RANGES, **entry.ranges}[p.name]))
                scheduled = flip and Schedule in get_args(p.annotation)
                arguments[p.name] = _schedule(p.name, number) if scheduled else number
            elif p.name.endswith("mask") and flip:
                arguments[p.name] = _weights_and_not_biases
        return arguments

    return [entry.example, drawn(flip=False), drawn(flip=True), *({**drawn(False), **v} for v in entry.variants)]


def deviation(
    optimizer: Optimizer,
    twin: Optimizer,
    needs: tuple = (),
    seed: int = 0,
    steps: int = STEPS,
    curves: Iterable[str] = tuple(CURVES),
    compiled: bool = False,
) -> float:
    """The largest |a − b| / max |b| over the leaves of updates and params, over all steps, on each of the losses.

    NaN against a number is infinitely far; so are two trajectories of different shapes. Call it in double precision.
    """
    worst = 0.0
    for curve in curves:
        ours, theirs = (trajectory(o, needs, curve, seed, steps, compiled) for o in (optimizer, twin))
        pairs = zip(ours, theirs, strict=True)
        worst = max(worst, *(_distance(a, b) for pair in pairs for a, b in _leaves(*pair)))
    return worst


def trajectory(
    optimizer: Optimizer,
    needs: tuple = (),
    curve: str = "linear",
    seed: int = 0,
    steps: int = STEPS,
    compiled: bool = False,
) -> list[tuple[Params, Params]]:
    """(updates, params) after each step on a fixed sequence of losses.

    A block of 128×130 and a vector; each step's loss is scaled by 10^U(−3, 1), and in every third step it does not
    depend on one coordinate of every array, where division by the gradient and its sign are easily wrong. Where
    "complex" is among the needs, all numbers are. Updates that hold loops or branches are faster when `compiled`; the
    others are not. What needs value_fn searches along one loss, the same in every step: between two, whether a step
    is accepted would hang on how numbers are rounded.
    """
    params, losses = _losses(curve, seed, steps, "complex" in needs)
    losses = losses[2:3] * steps if "value_fn" in needs else losses
    state, path, step = optimizer.init(params), [], stepper(optimizer, needs, compiled)
    for loss in losses:
        updates, state = step(loss, state, params)
        params = tree.add(params, updates)
        path.append((updates, params))
    return path


def stepper(optimizer: Any, needs: tuple = (), compiled: bool = False) -> Callable[..., tuple]:
    """step(loss, state, params) → (updates, state), by `advance`; one program for all losses when it is compiled."""
    return _compiled(optimizer, needs) if compiled else _step(optimizer, needs)


def _step(optimizer: Any, needs: tuple) -> Callable[..., tuple]:
    return lambda loss, state, params: advance(optimizer, loss, state, params, needs)


@functools.lru_cache(maxsize=4)
def _compiled(optimizer: Any, needs: tuple) -> Callable[..., tuple]:
    return jax.jit(_step(optimizer, needs))


def advance(optimizer: Any, loss: Callable[[Params], Array], state: Any, params: Params, needs: tuple = ()) -> tuple:
    """One update on the loss, a `jax.tree_util.Partial`, with the extra arguments that the optimizer needs.

    Where those are "examples", the gradients are those of three, stacked.
    """
    objective = lambda x, *_, **__: loss(x)
    value, grads = _value_and_grad(loss, params)
    grads = jax.tree.map(jnp.conj, grads)
    if "examples" in needs:
        grads = jax.tree.map(lambda g: jnp.stack([0.5 * g, 2.0 * g, -g]), grads)
    known = {
        "value": value,
        "grad": grads,
        "value_fn": objective,
        "obj_fn": objective,
        "grad_fn": lambda x, *_: jax.tree.map(jnp.conj, jax.grad(objective)(x)),
    }
    return optimizer.update(grads, state, params, **{name: known[name] for name in needs if name in known})


@functools.cache
def _losses(curve: str, seed: int, steps: int, complex_numbers: bool = False) -> tuple[Params, list[Callable[[Params], Array]]]:
    """Parameters and a loss for each step."""
    rng, which = np.random.default_rng(seed), jnp.int32(list(CURVES).index(curve))
    parts = lambda shape: rng.normal(size=shape) + (1j * rng.normal(size=shape) if complex_numbers else 0)
    draw = lambda: {k: parts(shape) for k, shape in SHAPES.items()}

    def loss(k: int) -> Callable[[Params], Array]:
        centre, slope, scale = draw(), draw(), 10 ** rng.uniform(-3, 1)
        if k % 3 == 2:
            for s in slope.values():
                s[(0,) * s.ndim] = 0.0
        return jax.tree_util.Partial(_loss, which, *jax.tree.map(jnp.asarray, (centre, slope, scale)))

    return jax.tree.map(jnp.asarray, draw()), [loss(k) for k in range(steps)]


@jax.jit
def _value_and_grad(loss: Callable[[Params], Array], params: Params) -> tuple[Array, Params]:
    """Compiled once for all losses: what they are made of is data."""
    return jax.value_and_grad(loss)(params)


def _loss(which: Array, centre: Params, slope: Params, scale: Array, params: Params) -> Array:
    """scale · Σ φ(x − centre, slope), over all entries of all leaves; over both parts of complex ones."""
    curve = lambda u, s: jax.lax.switch(which, list(CURVES.values()), u, s)
    real = lambda x: jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x
    sums = jax.tree.map(lambda x, c, s: jnp.sum(curve(real(x - c), real(s))), params, centre, slope)
    return scale * jnp.sum(jnp.stack(jax.tree.leaves(sums)))


def _row(name: str, entry: catalogue.Entry) -> Row:
    with jax.enable_x64(True):
        other, twin_name = twin(name)
        cases = settings(name)
        far = lambda seed, kw: deviation(entry.factory(**kw), other(**kw), entry.needs, seed, compiled=entry.compiled)
        distances = [far(seed, kw) for seed, kw in enumerate(cases)]
        kinds = [dtype for dtype in DTYPES if entry.complex or "complex" not in dtype]
        dtypes = all(keeps_dtypes(entry.factory(**entry.example), dtype, entry.needs) for dtype in kinds)
        traced = all(traces(entry.factory, kw, entry.needs) for kw in cases[1:3])
    worst = max(distances)
    passed = worst <= TOLERANCE and dtypes and traced
    count = len(cases) * len(CURVES)
    return Row(name, entry.paper, twin_name, count, worst, dtypes, traced, entry.deviations, passed)


def keeps_dtypes(optimizer: Optimizer, dtype: str, needs: tuple = ()) -> bool:
    """Updates have the gradient's dtype, the state never changes its type, and a zero gradient gives finite updates."""
    params = {"bias": jnp.ones(SHAPES["bias"], dtype)}
    flat = jax.tree_util.Partial(lambda p: 0 * jnp.sum(jnp.real(p["bias"])).astype(jnp.float32))
    step = lambda state: advance(optimizer, flat, state, params, needs)
    state = optimizer.init(params)
    updates, after = jax.eval_shape(step, state)
    kept = _types(updates) == _types(params) and _types(after) == _types(state)
    return kept and bool(tree.all_finite(step(state)[0]))


def traces(factory: Callable[..., Optimizer], settings: dict[str, Any], needs: tuple = ()) -> bool:
    """Whether the trajectory is the same when every float hyper-parameter, given or default, is a tracer."""
    defaults = {n: p.default for n, p in inspect.signature(factory).parameters.items() if p.default is not p.empty}
    arguments = {**defaults, **settings}
    floats = {n: value for n, value in arguments.items() if isinstance(value, float)}
    static = {n: value for n, value in arguments.items() if n not in floats}
    losses = [jax.tree_util.Partial(loss) for loss in (_bowl, _valley)]

    def last(floats: dict[str, Any]) -> Params:
        optimizer = factory(**static, **floats)
        x = {"x": jnp.array([0.5, -2.0])}
        state = optimizer.init(x)
        for loss in losses:
            updates, state = advance(optimizer, loss, state, x, needs)
            x = tree.add(x, updates)
        return x

    try:
        traced = jax.vmap(last, axis_size=1)(jax.tree.map(lambda value: jnp.asarray(value)[None], floats))
    except jax.errors.ConcretizationTypeError:
        return False
    return _distance(traced["x"][0], last(floats)["x"]) <= TOLERANCE


def _bowl(p: Params) -> Array:
    return jnp.sum(p["x"] ** 2)


def _valley(p: Params) -> Array:
    return (p["x"][1] - 0.1) ** 2


def _schedule(name: str, number: float) -> Schedule:
    """A rate falls on half a cosine, anything else by steps."""
    return cosine_decay(number, 9, 0.1, 0.7) if name == "learning_rate" else exponential_decay(number, 3, 0.5)


def _weights_and_not_biases(params: Params) -> Any:
    """A mask: matrices yes, vectors and numbers not."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _types(values: Any) -> list[tuple]:
    return [(x.shape, x.dtype, getattr(x, "weak_type", False)) for x in jax.tree.leaves(values)]


def _leaves(a: Any, b: Any) -> list[tuple[Any, Any]]:
    return list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def _distance(a: Any, b: Any) -> float:
    """max |a − b| / max |b|, 0 where both are 0, and infinity where it is not a number."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return np.inf
    far, size = np.max(np.abs(a - b)), np.max(np.abs(b))
    if far == 0:
        return 0.0
    return float(far / size) if far < np.inf and size > 0 else np.inf
