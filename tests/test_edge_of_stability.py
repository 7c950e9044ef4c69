"""The edge of stability: its claims hold, and fail for another rate, another threshold, another preconditioner."""

import jax
import jax.numpy as jnp
import pytest

from experiments import edge_of_stability as edge
from sandbox import landscape, optimizers

pytestmark = pytest.mark.slow
NESTEROV, ADAM = optimizers.nesterov, optimizers.adam
BROKEN = {  # the family, what is broken in it, by what, and how many claims then fail
    "Nesterov at 0.6 of its rate": ("nesterov", optimizers, "nesterov", lambda r, m: NESTEROV(0.6 * r, m), 1),
    "heavy ball's threshold for Nesterov": (
        "nesterov", landscape, "nesterov_threshold", landscape.heavy_ball_threshold, 1,
    ),
    "Adam with less momentum": ("adam", optimizers, "adam", lambda r, b1, b2, e: ADAM(r, 0.7, b2, e), 3),
    "the sharpness without its preconditioner": (
        "adam", landscape, "adam_preconditioner", lambda *_: lambda info: jax.tree.map(jnp.ones_like, info.grads), 3,
    ),
}  # fmt: skip


def test_the_edge(away):
    found = edge.main(fast=True)
    assert [claim.name for claim in found.claims if not claim.holds] == []
    assert len(found.claims) == 10
    figure, caption = found.figures["figure"]
    assert len(figure.axes) == 3
    assert "float32" in caption


@pytest.mark.parametrize(("part", "module", "name", "broken", "failing"), BROKEN.values(), ids=BROKEN)
def test_a_broken_edge(away, monkeypatch, part, module, name, broken, failing):
    monkeypatch.setattr(module, name, broken)
    claims = edge.at_the_edge(getattr(edge, part)(True))
    assert sum(not claim.holds for claim in claims) == failing
