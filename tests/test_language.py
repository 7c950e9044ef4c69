"""Text and pictures: the experiment's claims hold and fail where they should; Transformer, AlexNet, text by oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given
from hypothesis import strategies as st

from experiments import language
from sandbox import losses, optimizers, problems
from sandbox.data import text
from sandbox.engine import run
from sandbox.models import alexnet, transformer

BELOW, NEAR = "Markov, Transformer: cross-entropy − entropy rate", "Markov, Transformer: the same, at most"
COPY, COPY_NEAR = "copy, Transformer: loss − the source's", "copy, Transformer: the same, at most"
BLIND, LOOKS = "copy, Transformer: loss where it is not", "copy: places that look most at the symbol copied"
AHEAD, CHANGED = "attention to later symbols, largest", "scores that a later symbol changes, by at most"
SINGLE, PAIRS = "Markov, single symbols: cross-entropy", "Markov, pairs: cross-entropy − entropy rate"
BETTER, WORSE = "pairs on their own text: nats better than the source", "pairs on as long a new text: nats worse"
SLOPE, LAGGED = "Markov, pairs: slope of the log-loss at the counts", "copy, pairs: cross-entropy"
VALID, SAME, FULL = (
    f"{name}: outputs − ({law}), ours and flax's, largest" for name, (law, *_) in language.PADDINGS.items()
)
VALUES, FILTERS = "valid, same, full: values beside NumPy's, largest", "filters learned beside those that made the data"
ALEXNET = "AlexNet: parameters"
ALL = {
    BELOW, NEAR, COPY, COPY_NEAR, BLIND, LOOKS, AHEAD, CHANGED, SINGLE, PAIRS, BETTER, WORSE, SLOPE, LAGGED,
    VALID, SAME, FULL, VALUES, FILTERS, ALEXNET,
}  # fmt: skip


@pytest.fixture(scope="module")
def sound():
    """The experiment as it should be, and what its slow parts returned."""
    returned = {}

    def recorded(part, whole):
        def call(*given):
            returned[part] = whole(*given)
            return returned[part]

        return call

    with pytest.MonkeyPatch.context() as patch:
        for part in ("trained", "filters"):
            patch.setattr(language, part, recorded(part, getattr(language, part)))
        return language.main(fast=True), returned


@pytest.mark.slow
def test_language(sound):
    found, _ = sound
    assert {claim.name for claim in found.claims} == ALL
    assert len(found.claims) == 20
    assert [claim.name for claim in found.claims if not claim.holds] == []
    figure, caption = found.figures["figure"]
    assert len(figure.axes) == 5  # four panels and a scale of colours
    assert "float64" in caption


ATTENTION, COUNTED, DELAYED, MARKOV = transformer.attention, language.counted, language.delayed, language.markov
CONV, DILATED, COUNT = nn.Conv, language.convolution.conv_general_dilated, alexnet.parameters


def looks_ahead(q, k):
    return jax.nn.softmax(q @ k.mT / q.shape[-1] ** 0.5)


def smoothed(codes):
    """One more of every pair."""
    return (COUNTED(codes) * codes.shape[1] + language.K) / (codes.shape[1] + language.K**2)


def one_back(length, rng):
    """A text that repeats the last symbol."""
    s = rng.integers(language.K, size=length)
    last = np.maximum.accumulate(np.where(rng.random(length) < language.FRESH, np.arange(length), 0))
    return s[last]


def padded(padding):
    """Layers along one axis that always pad in the same way."""
    return lambda features, size, *rest, **options: (
        CONV(features, size, padding=padding) if len(size) == 1 else CONV(features, size, *rest, **options)
    )


LEAKS = {BELOW, COPY, BLIND, LOOKS, AHEAD, CHANGED}
BREAKS = {  # the parts that are computed anew, what is broken, how, and what fails
    "no mask": ("trained", "sandbox.models.transformer.attention", looks_ahead, LEAKS),
    "few steps": ("trained", "experiments.language.STEPS", 20, {NEAR, COPY_NEAR, LOOKS}),
    "counts smoothed": ("", "experiments.language.counted", smoothed, {SLOPE}),
    "pairs backwards": (
        "",
        "experiments.language.counted",
        lambda codes: COUNTED(codes[:, ::-1]),
        {SLOPE, BETTER, WORSE},
    ),
    "shares that add up to more": (
        "",
        "experiments.language.counted",
        lambda codes: 1.1 * COUNTED(codes),
        {PAIRS, BETTER, WORSE, LAGGED},
    ),
    "copies of the last symbol": ("", "experiments.language.delayed", one_back, {LAGGED, BLIND, COPY_NEAR}),
    "a source of pure chance": (
        "",
        "experiments.language.markov",
        lambda chain, *rest: MARKOV(np.full_like(chain, 1 / language.K), *rest),
        {SINGLE, BETTER, WORSE},
    ),
    "flax pads": ("", "flax.linen.Conv", padded("SAME"), {VALID, FULL}),
    "flax does not pad": ("", "flax.linen.Conv", padded("VALID"), {SAME, FULL}),
    "a convolution too large": (
        "",
        "sandbox.models.convolution.conv_general_dilated",
        lambda *given, **options: 1.001 * DILATED(*given, **options),
        {VALUES},
    ),
    "steps too small": (
        "filters",
        "sandbox.optimizers.gradient_descent",
        lambda rate, descent=optimizers.gradient_descent: descent(rate / 10),
        {FILTERS},
    ),
    "ten classes": ("", "sandbox.models.alexnet.parameters", lambda: COUNT(10), {ALEXNET}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("anew", "name", "broken", "expected"), BREAKS.values(), ids=BREAKS)
def test_a_broken_part_fails_its_claims(monkeypatch, sound, anew, name, broken, expected):
    for part, result in sound[1].items():
        if part != anew:
            monkeypatch.setattr(language, part, lambda *_, result=result: result)
    monkeypatch.setattr(name, broken)
    monkeypatch.setattr(language, "figures", lambda *_: {})
    language.scored.clear_cache()
    failed = {claim.name for claim in language.main(fast=True).claims if not claim.holds}
    language.scored.clear_cache()
    assert failed == expected


# the Transformer


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_attention_is_that_of_flax(x64):
    """Causal, by `dot_product_attention_weights`; flax has heads after places."""
    q, k = normal(2, 3, 7, 4), normal(2, 3, 7, 4, seed=1)
    mask = nn.make_causal_mask(jnp.ones((2, 7)))
    there = nn.dot_product_attention_weights(q.swapaxes(1, 2), k.swapaxes(1, 2), mask=mask)
    np.testing.assert_allclose(transformer.attention(q, k), there, atol=1e-14)


@pytest.mark.parametrize("heads", [1, 3])
def test_a_layer_of_attention_is_that_of_flax(heads, x64):
    x, width = normal(2, 5, 12), 12
    ours = transformer.Attention(heads)
    params = jax.tree.map(jnp.asarray, {name: {"kernel": normal(width, width, seed=i)} for i, name in enumerate(NAMES)})
    theirs = nn.MultiHeadDotProductAttention(heads, use_bias=False, dtype=float)
    split = lambda name, w: w.reshape(heads, -1, width) if name == "out" else w.reshape(width, heads, -1)
    same = {name: {"kernel": split(name, layer["kernel"])} for name, layer in params.items()}
    expected = theirs.apply({"params": same}, x, mask=nn.make_causal_mask(jnp.ones((2, 5))))
    np.testing.assert_allclose(ours.apply({"params": params}, x), expected, atol=1e-12)


NAMES = ("query", "key", "value", "out")


@pytest.mark.slow
def test_no_symbol_looks_ahead_and_every_one_looks_back(x64):
    model = transformer.Transformer(5, 8, width=12, heads=3, blocks=2)
    codes = np.random.default_rng(0).integers(5, size=8)
    params = model.init(jax.random.key(0), codes)
    scores = jax.jit(lambda codes: model.apply(params, codes))
    before = scores(codes)
    for place in range(8):
        change = np.abs(scores(np.where(np.arange(8) == place, (codes + 1) % 5, codes)) - before).max(1)
        assert (change[:place] == 0).all()
        assert (change[place:] > 0).all()
    np.testing.assert_allclose(model.apply(params, codes[:4]), before[:4], atol=1e-6)


def test_attention_matrices_are_kept_and_are_means():
    model = transformer.Transformer(5, 8, width=12, heads=3, blocks=2)
    codes = np.random.default_rng(0).integers(5, size=(4, 6))
    params = model.init(jax.random.key(0), codes)
    assert set(params) == {"params"}
    _, sown = model.apply(params, codes, mutable="intermediates")
    kept = jax.tree.leaves(sown)
    assert [A.shape for A in kept] == [(4, 3, 6, 6)] * 2
    for A in kept:
        np.testing.assert_allclose(A.sum(-1), 1, rtol=1e-6)


def test_transformers_that_cannot_be():
    with pytest.raises(ValueError, match="9 symbols; this Transformer sees at most context=8"):
        transformer.Transformer(5, 8).init(jax.random.key(0), np.zeros(9, int))
    with pytest.raises(ValueError, match="width 32 in 3 heads"):
        transformer.Transformer(5, 8, heads=3).init(jax.random.key(0), np.zeros(8, int))


# AlexNet


def test_alexnet_has_the_parameters_and_the_shapes_of_the_paper():
    assert alexnet.parameters() == 60_965_224
    picture = jax.ShapeDtypeStruct((2, 227, 227, 3), jnp.float32)
    module = alexnet.AlexNet()
    outputs = lambda key, x: module.init_with_output(key, x, capture_intermediates=True)
    scores, variables = jax.eval_shape(outputs, jax.random.key(0), picture)
    assert scores.shape == (2, 1000)
    kernels = [leaf.shape for leaf in jax.tree.leaves(variables["params"]) if len(leaf.shape) > 1]
    assert kernels == [
        (11, 11, 3, 96), (5, 5, 48, 256), (3, 3, 256, 384), (3, 3, 192, 384), (3, 3, 192, 256),
        (9216, 4096), (4096, 4096), (4096, 1000),
    ]  # fmt: skip
    _, kept = jax.eval_shape(lambda v, x: module.apply(v, x, capture_intermediates=True), variables, picture)
    shapes = {name: kept["intermediates"][name]["__call__"][0].shape[1:] for name in variables["params"]}
    sides = {"Conv_0": (55, 55, 96), "Conv_1": (27, 27, 256), "Conv_2": (13, 13, 384), "Conv_3": (13, 13, 384)}
    ends = {"Conv_4": (13, 13, 256), "Dense_0": (4096,), "Dense_1": (4096,), "Dense_2": (1000,)}
    assert shapes == sides | ends


def test_responses_are_normalised_as_the_paper_writes_it(x64):
    a, n = normal(2, 3, 3, 11), 5
    expected = np.empty_like(a)
    for i in range(11):
        nearby = a[..., max(0, i - n // 2) : min(10, i + n // 2) + 1]
        expected[..., i] = a[..., i] / (2 + 1e-4 * (nearby**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(alexnet.normalise(jnp.asarray(a)), expected, rtol=1e-13)


def test_pooling_overlaps():
    x = np.arange(49.0).reshape(1, 7, 7, 1)
    expected = [[x[0, i : i + 3, j : j + 3, 0].max() for j in (0, 2, 4)] for i in (0, 2, 4)]
    np.testing.assert_array_equal(alexnet.pool(jnp.asarray(x))[0, :, :, 0], expected)


@pytest.mark.slow
def test_alexnet_takes_a_step():
    X, y = normal(2, 227, 227, 3), np.array([3, 141])
    problem = problems.from_flax(alexnet.AlexNet(), X, y, losses.softmax_cross_entropy)
    start = problem.init(jax.random.key(1))
    method = optimizers.gradient_descent(0.01)
    end = jax.jit(lambda params: run(problem, method, steps=1, key=jax.random.key(0), params=params))(start)
    assert end.status == 0
    assert np.isfinite(end.trace["loss"]).all()
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), start, end.params)
    assert all(jax.tree.leaves(moved))


# text


@given(st.text())
def test_what_is_encoded_is_decoded(written):
    symbols = text.vocabulary(written) or "x"
    codes = text.encode(written, symbols)
    assert text.decode(codes, symbols) == written
    assert codes.tolist() == [symbols.index(character) for character in written]


def test_a_code_is_a_place_whatever_the_order_of_the_symbols():
    assert text.vocabulary("to be or not") == " benort"
    assert text.encode("noon", "on").tolist() == [1, 0, 0, 1]


def test_windows_and_what_follows():
    codes = np.arange(10)
    X, y = text.windows(codes, 4, stride=3)
    assert X.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]
    assert y.tolist() == [[1, 2, 3, 4], [4, 5, 6, 7]]
    assert text.windows(codes, 9).X.shape == (1, 9)
    assert np.shares_memory(X, codes)
    with pytest.raises(ValueError, match="read-only"):
        X[0, 0] = 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: text.encode("abcxb", "abc"), "character 3 of the text, 'x', is none of the symbols 'abc'"),
        (lambda: text.encode("a", ""), "expected at least one, each of them once"),
        (lambda: text.encode("a", "aa"), "expected at least one, each of them once"),
        (lambda: text.decode([0, 3], "abc"), "code 1 is 3: expected 0 to 2"),
        (lambda: text.decode([-1], "abc"), "code 0 is -1"),
        (lambda: text.decode([0.5], "abc"), "expected whole numbers in one row"),
        (lambda: text.windows([1, 2, 3], 3), "3 symbols: a window of 3 and its next symbol take 4"),
        (lambda: text.windows([1, 2, 3], 0), "context=0, stride=1"),
        (lambda: text.windows([[1, 2, 3]], 1), "expected whole numbers in one row"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
