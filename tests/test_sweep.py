"""sweep: every lane is the run alone, no lane notices another, and datasets are labelled as they were asked for."""

import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

from sandbox import optimizers, problems
from sandbox.engine import lanes, run
from sandbox.engine.lanes import Plan, arrange, choose, lower
from sandbox.engine.memory import fit
from sandbox.engine.program import Traced
from sandbox.sweeps import choice, halton, linear, log, random, sobol, static, sweep
from sandbox.sweeps.lane import Program, lane


def point(**kinds):
    return {name: jax.ShapeDtypeStruct((), kind, weak_type=True) for name, kind in kinds.items()}


def rosenbrock(learning_rate, b1, seed):
    start = jnp.array([-1.2, 1.0]) + 0.1 * jax.random.normal(jax.random.key(seed), (2,))
    return run(
        problems.rosenbrock(),
        optimizers.adam(learning_rate, b1),
        steps=100,
        key=jax.random.key(0),
        params=start,
    )


def small_mlp(learning_rate, seed):
    problem = problems.digits_mlp(hidden=(8,))
    return run(problem, optimizers.adam(learning_rate), steps=100, batch_size=32, key=jax.random.key(seed))


@pytest.mark.parametrize("fn", [rosenbrock, pytest.param(small_mlp, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("x64_on", "tolerance"), [(True, 1e-10), (False, 1e-5)])
def test_a_lane_is_the_run_alone(fn, x64_on, tolerance):
    """At every rate up to the best one: there a run forgets its rounding errors; beyond it, training is chaotic."""
    others = {"b1": [0.0, 0.9]} if fn is rosenbrock else {}
    with jax.enable_x64(x64_on):
        ds = sweep(fn, learning_rate=log(1e-3, 0.3, 12), seed=[0, 3], **others, keep="params")
        best = int(np.argmin(ds.value.mean([d for d in ds.value.dims if d != "learning_rate"]).values))
        alone = jax.jit(fn)
        for rate in ds.learning_rate.values[: best + 1 : 3]:
            at = dict(learning_rate=rate, seed=3, **dict.fromkeys(others, 0.9))
            one, lane = alone(**at), ds.sel(at)
            np.testing.assert_allclose(lane.value, one.value, rtol=tolerance)
            np.testing.assert_allclose(lane.loss, one.trace["loss"], rtol=tolerance, atol=tolerance * 1e-3)


RARE_PLANS = [Plan(1, 6, 2), Plan(4, 2, 1), Plan(6, 1, 1)]
PLANS = [Plan(3, 2, 2), Plan(2, 2, 2, ("seed",)), *(pytest.param(p, marks=pytest.mark.slow) for p in RARE_PLANS)]


@pytest.mark.parametrize("plan", PLANS)
def test_every_plan_gives_the_same_results(plan, x64):
    axes = dict(learning_rate=[0.01, 0.1, 0.2], seed=[0, 1], b1=[0.9])
    expected = sweep(rosenbrock, **axes)
    xarray.testing.assert_allclose(sweep(rosenbrock, **axes, plan=plan), expected, rtol=1e-10)


def test_other_lanes_never_notice_that_one_diverges():
    """Bit for bit: the same sweep with its diverging rate replaced by a sane one."""

    def train(learning_rate):
        return run(problems.rosenbrock(), optimizers.sgd(learning_rate), steps=300, key=jax.random.key(0))

    wild = sweep(train, learning_rate=[1e-4, 5.0, 2e-4, 1e30], keep="params")
    tame = sweep(train, learning_rate=[1e-4, 1e-3, 2e-4, 5e-4], keep="params")
    assert wild.status.values.tolist() == [0, 1, 0, 1]
    assert np.isfinite(wild["params"]).all()
    for k, at in enumerate(wild.diverged_at.values):
        if at >= 0:
            assert np.isfinite(wild.loss[k, :at]).all()
            assert np.isnan(wild.loss[k, at:]).all()
    sane = [0, 2]
    for name in wild.data_vars:
        np.testing.assert_array_equal(wild[name].values[sane], tame[name].values[sane])


def test_coordinates_are_as_given_and_dimensions_in_order(x64):
    ds = sweep(rosenbrock, b1=[0.0, 0.9], seed=range(3), learning_rate=log(1e-4, 1.0, 5))
    assert ds.loss.dims == ("b1", "seed", "learning_rate", "step")
    assert ds.value.dims == ("b1", "seed", "learning_rate")
    np.testing.assert_array_equal(ds.learning_rate, np.geomspace(1e-4, 1, 5))
    assert ds.sel(b1=0.9, seed=2).learning_rate.size == 5
    assert ds.learning_rate.dtype == np.float64
    np.testing.assert_array_equal(ds.step, np.arange(100))


@pytest.mark.slow
def test_text_functions_and_static_values_loop_over_programs(x64):
    """A word, an integer that shapes the program, and a function: each becomes a dimension with labels."""

    def train(kind, dim, wall, learning_rate):
        valley = problems.Problem("valley", lambda key: jnp.ones(dim), lambda x: jnp.sum(wall(x)) ** 2)
        return run(valley, getattr(optimizers, kind)(learning_rate), steps=2, key=jax.random.key(0))

    walls = [jnp.tanh, jnp.sin]
    ds = sweep(train, kind=["sgd", "lion"], dim=static(2, 3), wall=walls, learning_rate=[0.1, 0.2])
    assert ds.value.dims == ("kind", "dim", "wall", "learning_rate")
    assert ds.wall.values.tolist() == ["tanh", "sin"]
    assert ds.dim.values.tolist() == [2, 3]
    alone = train("lion", 3, jnp.sin, 0.2).value
    np.testing.assert_allclose(ds.value.sel(kind="lion", dim=3, wall="sin", learning_rate=0.2), alone, rtol=1e-12)
    mixed = sweep(lambda a, b: a * (len(b) if isinstance(b, tuple) else 1), a=[2.0], b=static((4,), (6, 4), None))
    assert mixed.b.values.tolist() == ["(4,)", "(6, 4)", "None"]
    assert mixed.value.values.tolist() == [[2, 4, 2]]


def test_a_problem_can_be_built_inside_the_sweep(x64):
    """The contraction of gradient descent at 2/(L+μ) is (κ−1)/(κ+1), for swept condition numbers."""

    def train(condition_number):
        problem = problems.quadratic(condition_number)
        rate = 2 / (problem.facts.smoothness + problem.facts.strong_convexity)
        return run(problem, optimizers.gradient_descent(rate), steps=21, key=jax.random.key(1), params=jnp.ones(2))

    kappa = np.array([2.0, 10.0, 100.0])
    ds = sweep(train, condition_number=kappa)
    ratio = ds.grad_norm[:, 20] / ds.grad_norm[:, 0]
    np.testing.assert_allclose(ratio ** (1 / 20), (kappa - 1) / (kappa + 1), rtol=1e-12)


@pytest.mark.parametrize("make", [sobol, halton, random])
def test_scattered_points_fill_one_dimension_and_cross_with_axes(make, x64):
    points = make(16, learning_rate=log(1e-3, 0.1), b1=linear(0.0, 0.9))
    ds = sweep(rosenbrock, points=points, seed=range(2))
    assert ds.value.dims == ("point", "seed")
    assert ds.learning_rate.dims == ("point",)
    assert ((ds.learning_rate > 1e-3) & (ds.learning_rate < 0.1)).all()
    spread = np.sort(np.log10(ds.learning_rate.values)) + 3
    assert (np.diff(spread) < 2).all()
    one = jax.jit(rosenbrock)(float(ds.learning_rate[5]), float(ds.b1[5]), 1)
    np.testing.assert_allclose(ds.value.sel(point=5, seed=1), one.value, rtol=1e-10)


def test_a_function_of_arrays_needs_no_run():
    ds = sweep(lambda a, b: {"sum": a + b, "row": jnp.stack([a, b, a * b])}, a=[1.0, 2.0], b=[3, 4])
    assert ds["sum"].sel(a=2.0, b=4).item() == 6.0
    assert ds.row.dims == ("a", "b", "row_0")
    assert sweep(lambda a: a**2, a=linear(0.0, 3.0, 4)).value.values.tolist() == [0, 1, 4, 9]


def test_a_rebound_name_is_not_remembered_and_a_repeated_call_is_not_traced_again(monkeypatch):
    traces = []
    monkeypatch.setattr("sandbox.sweeps.lane.Traced", lambda *args: traces.append(1) or Traced(*args))

    def train(learning_rate):
        return run(problem, optimizers.sgd(learning_rate), steps=2, key=jax.random.key(0))

    problem = problems.bowl()
    first = sweep(train, learning_rate=[0.1, 0.2])
    sweep(train, learning_rate=[0.3, 0.4])
    assert len(traces) == 1
    problem = problems.rosenbrock()
    assert (sweep(train, learning_rate=[0.1, 0.2]).value != first.value).all()
    assert len(traces) == 2


def test_a_remembered_program_does_not_decide_the_precision_of_the_next():
    """A NumPy array that one program holds as a double is a single in another one, where double precision is off."""
    start = np.array([1.0, 3.0])
    for double in (True, False):
        for scale in (2.0, 3.0):
            with jax.enable_x64(double):
                ds = sweep(lambda a, s=scale: a * s * jnp.sum(jnp.asarray(start) ** 2), a=[0.5])
            assert ds.value.dtype == (np.float64 if double else np.float32)
            assert ds.value.item() == 5 * scale


STEEPNESS = 1.0


def test_a_global_inside_a_loss_is_noticed(monkeypatch):
    """The loss sits in a Problem, in the closure of the swept function: as in every notebook."""
    valley = problems.Problem("valley", lambda key: jnp.ones(1), lambda x: STEEPNESS * x[0] ** 2)
    train = lambda learning_rate: run(valley, optimizers.sgd(learning_rate), steps=1, key=jax.random.key(0))
    for steepness in (1.0, 3.0):
        monkeypatch.setitem(globals(), "STEEPNESS", steepness)
        np.testing.assert_allclose(sweep(train, learning_rate=[0.1]).loss.item(), steepness, rtol=1e-6)


def test_the_axes_that_feed_random_keys_are_found():
    """Those lanes that share them share their minibatch; through loops, conditions and inner functions."""

    def fn(rate, seed, mix):
        key = jax.random.fold_in(jax.random.key(seed), 3)
        other = jax.lax.cond(rate > 0, lambda: mix, lambda: 0)
        body = lambda c, _: (c + rate, jax.random.normal(jax.random.fold_in(key, c[1].astype(int))))
        return jax.lax.scan(body, jnp.stack([rate, other + 0.0]), length=3)

    ints, floats = jnp.int32, jnp.float32
    traced = Traced(lambda **p: lane(fn(**p)[1]), point(rate=floats, seed=ints, mix=ints))
    assert traced.keyed == {"rate", "seed", "mix"}
    assert Traced(lambda **p: lane(small_mlp(**p)), point(learning_rate=floats, seed=ints)).keyed == {"seed"}


@pytest.mark.parametrize("plan", [Plan(4, 2, 2), Plan(3, 4, 2), Plan(10, 1, 1), None])
def test_rows_of_numbers_and_of_vectors_come_back_lane_by_lane(plan, monkeypatch):
    """However the lanes were laid out, and in however many pieces the tables of their steps were turned."""
    monkeypatch.setattr(lanes, "NEAR", 100)
    look = lambda info: {"loss": info.value, "x": info.params, "pair": jnp.outer(info.params, info.params)}

    def train(learning_rate):
        descent = optimizers.gradient_descent(learning_rate)
        return run(problems.bowl(), descent, steps=21, every=2, key=jax.random.key(0), record=look)

    ds = sweep(train, learning_rate=np.linspace(0.1, 0.5, 10), plan=plan)
    assert ds.x.dims[:2] == ("learning_rate", "step")
    for rate in ds.learning_rate.values:
        alone, lane = jax.jit(train)(rate).trace, ds.sel(learning_rate=rate)
        for name, values in alone.items():
            np.testing.assert_allclose(lane[name], values, rtol=1e-5)


def test_a_table_without_rows_and_rows_without_numbers():
    """Nothing was recorded, or nothing is in what was: the lanes are there all the same."""

    def train(learning_rate, steps):
        descent = optimizers.gradient_descent(learning_rate)
        look = lambda info: {"nothing": jnp.zeros((0,)), "loss": info.value}
        return run(problems.bowl(), descent, steps=steps, every=3, key=jax.random.key(0), record=look)

    for steps in (2, 6):
        ds = sweep(lambda learning_rate: train(learning_rate, steps), learning_rate=[0.1, 0.2, 0.3])  # noqa: B023
        assert ds.nothing.shape == (3, steps // 3, 0)
        assert ds.loss.shape == (3, steps // 3)
        assert np.isfinite(ds.value).all()


def test_a_sharded_program_has_no_collectives():
    program = Traced(lambda **p: lane(small_mlp(**p)), point(learning_rate=jnp.float32, seed=jnp.int32))
    text = lower(program, Plan(2, 2, 2))().xla.as_text()
    for word in ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert word not in text


def test_the_next_program_is_compiled_while_this_one_runs(monkeypatch):
    events = []

    def lowered(program, plan):
        events.append("lowered")
        return lower(program, plan)

    def block(self, outputs):
        events.append("handed over")
        return unchanged(self, outputs)

    unchanged = Program.block
    monkeypatch.setattr("sandbox.sweeps.lane.lower", lowered)
    monkeypatch.setattr(Program, "block", block)
    ds = sweep(lambda a, n: a * n, a=[1.0, 2.0], n=static(2.0, 3.0, 4.0))
    assert events == ["lowered", "lowered", "lowered", "handed over", "handed over", "handed over"]
    np.testing.assert_array_equal(ds.value, [[2, 3, 4], [4, 6, 8]])
    assert ds.attrs["compile_seconds"] > 0


def test_a_program_is_traced_once(monkeypatch):
    """However many lanes, chunks and calls: more seeds and other rates are the same program."""
    chex.clear_trace_counter()
    monkeypatch.setattr("sandbox.sweeps.lane.lane", chex.assert_max_traces(lane, n=1))

    def train(learning_rate, seed):
        return run(problems.rosenbrock(), optimizers.adam(learning_rate), steps=3, key=jax.random.key(seed))

    for seeds in (2, 3):
        sweep(train, learning_rate=log(1e-3, 1e-1, 7), seed=range(seeds), plan=Plan(2, 2, 2))
    with pytest.raises(AssertionError, match="traced > 1 times"):
        sweep(train, learning_rate=log(1e-3, 1e-1, 7), seed=range(2), keep="params")


def test_a_plan_from_a_larger_machine_runs_on_the_devices_that_there_are(x64):
    axes = dict(learning_rate=[0.01, 0.1, 0.2], seed=[0, 1], b1=[0.9])
    small, large = (sweep(rosenbrock, **axes, plan=Plan(1, 6, devices)) for devices in (2, 6))
    xarray.testing.assert_equal(small, large)


@pytest.mark.parametrize("arranged", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_backend_started_with_fewer_cores_is_mentioned_once(arranged):
    call = "sandbox.use_all_cores();" if arranged else ""
    code = f"import jax, sandbox; {call} from sandbox.sweeps import sweep; [sweep(lambda a: a, a=[1.0]) for _ in '12']"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert said.count("sandbox.use_all_cores()") == (0 if arranged or len(os.sched_getaffinity(0)) == 1 else 1)


def test_groups_share_their_outer_axes_and_chunks_are_whole():
    lanes = {"seed": np.repeat(np.arange(3), 5), "learning_rate": np.tile(np.geomspace(0.1, 1, 5), 3)}
    plan = Plan(width=2, groups=4, devices=2, outer=("seed",))
    table = arrange(lanes, plan)
    assert len(table) % plan.groups == 0
    assert set(table.ravel().tolist()) == set(range(15))
    for group in table:
        assert len(set(lanes["seed"][group])) == 1


def test_wide_for_small_problems_and_narrow_for_networks():
    axes = {"learning_rate": np.geomspace(0.1, 1, 4096)}
    tiny = Traced(lambda **p: lane(rosenbrock(seed=0, b1=0.9, **p)), point(learning_rate=jnp.float32))
    network = Traced(lambda **p: lane(small_mlp(seed=0, **p)), point(learning_rate=jnp.float32))
    assert choose([tiny], axes).width >= 256
    assert choose([network], axes).width <= 32


def decomposed(rate):
    """Singular values, which LAPACK finds; and an eigenvalue that nobody asks for."""
    A = rate * jnp.sin(jnp.arange(600.0)).reshape(60, 10)
    _ = jnp.linalg.eigvalsh(jnp.stack([A.T @ A] * 3))
    return jnp.linalg.svd(A, compute_uv=False)


def test_matrices_go_to_lapack_one_at_a_time():
    """Several at once would wait, on every device, for threads that wait themselves: the program would hang."""
    axes = {"rate": np.linspace(1, 2, 100)}
    programs = {
        1: Traced(decomposed, point(rate=jnp.float32)),
        3: Traced(lambda rate: jax.vmap(decomposed)(rate * jnp.arange(1.0, 4.0)), point(rate=jnp.float32)),
        2: Traced(lambda rate: jnp.fft.rfft(rate * jnp.ones(8)).real, point(rate=jnp.float32)),
        0: Traced(lambda rate: rate * jnp.ones((2, 2)) @ jnp.ones(2), point(rate=jnp.float32)),
    }
    for matrices, program in programs.items():
        assert program.matrices == matrices
        assert (choose([program], axes).width == 1) == (matrices > 0)
        assert choose([program], axes, width=16).devices == (1 if matrices > 1 else 2)
        assert lower(program, Plan(5, 2, 2))().devices == (1 if matrices > 0 else 2)
    inside = Traced(lambda rate: jax.lax.map(decomposed, rate * jnp.ones(2)), point(rate=jnp.float32))
    assert inside.matrices == 1


def test_a_sweep_over_decompositions_is_numpys():
    rates = np.linspace(1, 2, 40)
    expected = rates[:, None] * np.linalg.svd(np.sin(np.arange(600.0)).reshape(60, 10), compute_uv=False)
    for plan in (None, Plan(5, 8, 2)):
        np.testing.assert_allclose(sweep(decomposed, rate=rates, plan=plan).value, expected, rtol=1e-4, atol=1e-4)


def test_memory_bounds_the_chunk():
    axes = {"learning_rate": np.geomspace(0.1, 1, 4096)}
    tiny = Traced(lambda **p: lane(rosenbrock(seed=0, b1=0.9, **p)), point(learning_rate=jnp.float32))
    assert choose([tiny], axes, room=10**6).chunk < choose([tiny], axes).chunk


def test_a_plan_is_cut_until_the_compiled_program_fits():
    """Of 64 vectors side by side of a million numbers each, half a gigabyte, as many as there is room for."""
    wide = Traced(lambda a: lane(jnp.sort(jnp.arange(1e6) * a).mean()), point(a=jnp.float32))
    needs = lambda plan: lower(wide, plan)().bytes
    plan = Plan(32, 2, 2)
    assert needs(plan) > 10**8
    cut = fit(plan, 10**8, needs)
    assert needs(cut) <= 10**8 < needs(cut._replace(width=32))
    assert cut.width > 1
    assert "cut to fit 100 MB" in cut.reason
    assert fit(cut, 10**8, needs) == cut
    with pytest.raises(ValueError, match=r"one lane alone needs .* MB, and 1 MB are left; allow more memory"):
        fit(plan, 10**6, needs)


def test_a_limit_of_memory_is_checked_before_anything_runs(tmp_path):
    train = lambda a: a * jnp.ones(10**6)
    for bad in ("2 apples", "-1GB", 0, ""):
        with pytest.raises(ValueError, match=r"memory=.*expected a number of bytes"):
            sweep(train, a=[1.0], memory=bad)
    with pytest.raises(ValueError, match=r"memory='1MB': this process holds .*B already; allow more than that"):
        sweep(train, a=[1.0], memory="1MB")
    with pytest.raises(ValueError, match=r"the results of 10,000 lanes take 80 GB .* of memory='40GB' are left"):
        sweep(train, a=linear(0, 1, 10_000), memory="40GB", store=tmp_path / "s")
    assert not any(tmp_path.iterdir())


BAD = {
    "log from zero": (lambda: log(0, 1, 64), r"log\(0, 1\)"),
    "log downwards": (lambda: log(1, 0.1, 4), "low < high"),
    "no count": (lambda: sweep(lambda a: a, a=log(1, 2)), "needs a count"),
    "a count of zero": (lambda: log(1e-4, 1, 0), "1e-4|0.0001"),
    "half a count": (lambda: linear(0, 1, 2.5), "whole number"),
    "an infinite range": (lambda: linear(0, float("inf"), 3), "finite"),
    "no axis": (lambda: sweep(lambda a: a), "needs an axis"),
    "an empty axis": (lambda: sweep(lambda a: a, a=[]), "empty"),
    "no seeds": (lambda: sweep(lambda seed: seed, seed=range(0)), "empty"),
    "a repeated value": (lambda: sweep(lambda a: a, a=[1.0, 1.0]), "repeats"),
    "values that are one among floats": (lambda: sweep(lambda a: a, a=[2**53, 2**53 + 1, 0.5]), "repeats"),
    "NaN in an axis": (lambda: sweep(lambda a: a, a=[1.0, np.nan]), "NaN"),
    "a reserved name": (lambda: sweep(lambda step: step, step=[1.0]), "'step' is a word of sweep"),
    "an axis that is also a result": (lambda: sweep(lambda value: value, value=[1.0]), "both an axis and a result"),
    "an axis given twice": (lambda: sweep(lambda a: a, points=sobol(4, a=log(1, 2)), a=[1.0]), "given twice"),
    "points of a list": (lambda: sobol(4, a=choice(1, 2)), "drawn from a range"),
    "no points": (lambda: sobol(0, a=log(1, 2)), "whole number of points"),
    "a plan that is none": (lambda: sweep(lambda a: a, a=[1.0], plan=3), "plan=3"),
    "an unknown thing to keep": (lambda: sweep(lambda a: a, a=[1.0], keep="all"), "keep="),
    "a function of nothing": (lambda: sweep(lambda a: None, a=[1.0]), "returned NoneType"),
    "results of two shapes": (
        lambda: sweep(lambda n: jnp.zeros(n), n=static(2, 3)), "must return the same shapes"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_readable_line(case):
    make, words = BAD[case]
    with pytest.raises(ValueError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**40])
def test_a_whole_number_too_large_for_the_program_is_refused_and_not_wrapped(value, tmp_path):
    """In the dtype of the program, 2³¹ would be −2³¹. It is said before anything is computed or stored."""
    with pytest.raises(ValueError, match=f"axis size: {value} does not fit int32") as caught:
        sweep(lambda size: size * 1.0, size=[0, value], store=tmp_path / "s")
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())
    traced = Traced(lambda size: size * 1.0, point(size=np.int32))
    with pytest.raises(ValueError, match=f"axis size: {value} does not fit int32"):
        lower(traced, Plan(2, 1, 1))()({"size": np.array([0, value])})


def test_the_largest_whole_numbers_are_what_they_are(x64):
    ends = [-(2**31), 2**31 - 1, 2**40, 2**53]
    np.testing.assert_array_equal(sweep(lambda size: size * 1.0, size=ends).value, ends)
