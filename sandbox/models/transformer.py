"""The Transformer in flax, small and causal: from the symbols so far to scores of the next, attention as matrices.

Imported by those who ask for it, since flax comes with it: `from sandbox.models import transformer`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

matrix = partial(nn.Dense, use_bias=False)
norm = jax.nn.standardize  # layer normalisation: mean 0 and variance 1 over the width, with nothing to learn


class Transformer(nn.Module):
    """Scores of the next symbol at every place of a text of at most `context` symbols (Vaswani et al. 2017).

    x ← norm(E[s] + P);    in each block:  x ← norm(x + Attention(x)),  x ← norm(x + W₂ relu(W₁ x));    scores = W x

    All of it is matrices: there are no biases and the normalisation has no parameters; positions P are learned. Each
    block sows its attention matrices, which `apply(…, mutable="intermediates")` returns.
    """

    symbols: int
    context: int
    width: int = 32
    heads: int = 1
    blocks: int = 1

    @nn.compact
    def __call__(self, codes: Int[Array, "*batch length"]) -> Float[Array, "*batch length symbols"]:
        length = codes.shape[-1]
        if length > self.context:
            raise ValueError(f"a text of {length} symbols; this Transformer sees at most context={self.context}")
        places = nn.Embed(self.context, self.width, name="positions")(jnp.arange(length))
        x = norm(nn.Embed(self.symbols, self.width, name="embedding")(codes) + places)
        for block in range(self.blocks):
            x = norm(x + Attention(self.heads, name=f"attention_{block}")(x))
            hidden = nn.relu(matrix(4 * self.width, name=f"hidden_{block}")(x))
            x = norm(x + matrix(self.width, name=f"output_{block}")(hidden))
        return matrix(self.symbols, name="scores")(x)


class Attention(nn.Module):
    """Causal self-attention: in each head A V with A = softmax(Q Kᵀ/√d); heads, side by side, pass a last matrix."""

    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "*batch length width"]) -> Float[Array, "*batch length width"]:
        width = x.shape[-1]
        if width % self.heads:
            raise ValueError(f"width {width} in {self.heads} heads: expected a multiple")
        apart = lambda x: jnp.moveaxis(x.reshape(*x.shape[:-1], self.heads, -1), -2, -3)  # each head its own matrix
        q, k, v = (apart(matrix(width, name=name)(x)) for name in ("query", "key", "value"))
        A = attention(q, k)
        self.sow("intermediates", "attention", A)
        return matrix(width, name="out")(jnp.moveaxis(A @ v, -3, -2).reshape(x.shape))


def attention(
    q: Float[Array, "*batch length size"], k: Float[Array, "*batch length size"]
) -> Float[Array, "*batch length length"]:
    """softmax(Q Kᵀ/√d), where row i leaves out all columns j > i, so that no symbol looks ahead."""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    past = jnp.tri(scores.shape[-1], dtype=bool)
    return jax.nn.softmax(jnp.where(past, scores, -jnp.inf))
