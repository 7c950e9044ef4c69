"""Convolution as patches @ weights against XLA's own, and the network built of it against sums written out."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sandbox import problems
from sandbox.models import cnn
from sandbox.models.convolution import conv_general_dilated, convolve

EXACT = {"rtol": 0, "atol": 1e-12}


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]


def agrees(lhs, rhs, strides, padding, **options):
    """Value, and the pull-back of a cotangent of ones and minus ones to both arguments."""

    def way(conv):
        y, back = jax.vjp(lambda lhs, rhs: conv(lhs, rhs, strides, padding, **options), lhs, rhs)
        return y, *back(jnp.where(jnp.arange(y.size, dtype=jnp.uint8) % 3 == 0, -1.0, 1.0).reshape(y.shape))

    ours, native = jax.jit(lambda: (way(conv_general_dilated), way(jax.lax.conv_general_dilated)))()
    chex.assert_trees_all_close(ours, native, **EXACT)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "SAME_LOWER", ((2, 2), (2, 2)), ((0, 3), (1, -1))])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_every_padding_and_stride(padding, strides, x64):
    agrees(*arrays((2, 3, 8, 7), (4, 3, 3, 2)), strides, padding)


def test_valid_same_and_full_give_n_minus_k_plus_1_n_and_n_plus_k_minus_1(x64):
    n, k = 9, 3
    x, w = arrays((1, 1, n), (1, 1, k))
    for padding, length in (("VALID", n - k + 1), ("SAME", n), ([(k - 1, k - 1)], n + k - 1)):
        assert conv_general_dilated(x, w, (1,), padding).shape[-1] == length
        agrees(x, w, (1,), padding)


@pytest.mark.parametrize("options", [{"rhs_dilation": (2, 1)}, {"lhs_dilation": (2, 3)}, {"feature_group_count": 2}])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2), (3, 0))])
def test_dilations_and_groups(options, padding, x64):
    if isinstance(padding, str) and "lhs_dilation" in options:
        padding = ((1, 1), (1, 1))  # JAX gives the names no meaning for transposed convolutions
    groups = options.get("feature_group_count", 1)
    agrees(*arrays((2, 4, 9, 8), (6, 4 // groups, 3, 2)), (1, 2), padding, **options)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_layouts_of_flax_in_one_two_and_three_dimensions(rank, x64):
    space = "HWD"[:rank]
    lhs, rhs = arrays((2, *(5, 4, 3)[:rank], 3), (*(3, 2, 2)[:rank], 3, 4))
    agrees(lhs, rhs, (1,) * rank, "SAME", dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"))
    agrees(lhs, rhs, (1,) * rank, "VALID", dimension_numbers=(f"N{space}C", f"{space}IO", f"C{space}N"))


def test_nothing_is_left_of_a_picture_smaller_than_the_window(x64):
    x, w = arrays((2, 1, 2, 5), (3, 1, 3, 3))
    assert conv_general_dilated(x, w, (1, 1), "VALID").shape == (2, 3, 0, 3)


def test_batch_groups_are_left_to_xla(x64):
    x, w = arrays((4, 2, 5, 5), (6, 2, 3, 3))
    agrees(x, w, (1, 1), "SAME", batch_group_count=2)


def test_single_precision_to_a_millionth():
    lhs, rhs = (x.astype(jnp.float32) for x in arrays((4, 16, 14, 14), (32, 16, 3, 3)))
    native = jax.lax.conv_general_dilated(lhs, rhs, (1, 1), "SAME", precision="highest")
    ours = jax.jit(lambda: conv_general_dilated(lhs, rhs, (1, 1), "SAME"))()
    np.testing.assert_allclose(ours, native, rtol=0, atol=1e-6 * float(jnp.abs(native).max()))


def test_half_precision_stays_half_and_can_be_summed_in_single():
    lhs, rhs = (x.astype(jnp.bfloat16) for x in arrays((1, 2, 5, 5), (3, 2, 3, 3)))
    shape = lambda **options: jax.eval_shape(lambda: conv_general_dilated(lhs, rhs, (1, 1), "SAME", **options))
    assert shape().dtype == jnp.bfloat16
    assert shape(preferred_element_type=jnp.float32).dtype == jnp.float32


def test_layers_of_linen_and_nnx_take_it(key, x64):
    import flax.linen as nn
    from flax import nnx

    (x,) = arrays((2, 6, 5, 3))
    ours, plain = (nn.Conv(4, (3, 3), strides=2, **own) for own in ({"conv_general_dilated": conv_general_dilated}, {}))
    params = plain.init(key, x)
    np.testing.assert_allclose(jax.jit(ours.apply)(params, x), plain.apply(params, x), **EXACT)
    own = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0), conv_general_dilated=conv_general_dilated)
    native = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(nnx.jit(own)(x), nnx.jit(native)(x), **EXACT)


def test_lanes_of_weights_share_the_patches(x64):
    x, w = arrays((2, 6, 6, 3), (5, 4, 2, 3, 3))
    together, apart = jax.jit(lambda: (jax.vmap(convolve, (None, 0))(x, w), jax.lax.map(lambda w: convolve(x, w), w)))()
    np.testing.assert_allclose(together, apart, **EXACT)


def test_a_convolution_is_a_sum_over_window_and_channels(x64):
    x, w = arrays((2, 5, 6, 3), (4, 2, 3, 2))
    y = np.zeros((4, 3, 5, 3))
    for o, i, j, c, k, m in np.ndindex(4, 3, 5, 2, 3, 2):
        y[o, i, j] += w[o, c, k, m] * x[c, i + k, j + m]
    np.testing.assert_allclose(jax.jit(convolve)(x, w), y, **EXACT)


def test_the_convolutional_network_is_its_layers(key, x64):
    from scipy.signal import correlate

    params = jax.tree.map(lambda a: np.asarray(a) + 0.1, cnn.init(key, (2, 7, 6), (3, 4), 5))  # biases too
    picture = np.random.default_rng(1).standard_normal((2, 7, 6))
    h = picture
    for layer in params[:-1]:
        z = [sum(correlate(x, w, "same") for x, w in zip(h, kernel, strict=True)) for kernel in layer["w"]]
        z = np.maximum(np.array(z) + layer["b"][:, None, None], 0)
        h = np.array([[[np.max(c[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]) for j in range(c.shape[1] // 2)]
                       for i in range(c.shape[0] // 2)] for c in z])  # fmt: skip
    scores = params[-1]["w"] @ h.ravel() + params[-1]["b"]
    apply = jax.jit(cnn.apply)
    np.testing.assert_allclose(apply(params, picture), scores, rtol=1e-12)
    np.testing.assert_allclose(apply(params, np.stack([picture] * 2, -1)), np.stack([scores] * 2, -1), rtol=1e-12)


def test_pictures_with_colours_last_and_labels_of_any_kind(key, x64):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((12, 4, 6, 3)), np.array(["cat", "dog"] * 6)
    problem = problems.cnn(X, y, channels=(2,), X_test=X, y_test=y)
    params = jax.jit(problem.init)(key)
    scores = np.asarray(jax.jit(cnn.apply)(params, X.transpose(3, 1, 2, 0)))
    expected = np.mean(np.log(np.exp(scores).sum(0)) - scores[np.arange(12) % 2, np.arange(12)])
    objective, held_out = jax.jit(lambda params: (problem.objective(params), problem.evaluate(params)))(params)
    np.testing.assert_allclose([objective, held_out["loss"]], expected, rtol=1e-12)
    right = np.argmax(scores, 0) == np.arange(12) % 2
    np.testing.assert_allclose(held_out["accuracy"], right.sum() / 12)


def test_impossible_networks_of_convolutions_are_refused():
    X, y = np.ones((4, 5, 5)), np.arange(4)
    with pytest.raises(ValueError, match="halves pictures of 5×5; take fewer layers"):
        problems.cnn(X, y, channels=(2, 2, 2))
    with pytest.raises(ValueError, match=r"X has shape \(4, 25\); expected \(examples, height, width\) or"):
        problems.cnn(X.reshape(4, 25), y)
