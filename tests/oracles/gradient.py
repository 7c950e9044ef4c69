"""Gradient descent and momentum in NumPy, and the mistakes that are easily made in them."""

from oracles.losses import halving, rate


def momentum(x, losses, learning_rate, momentum=0.0, nesterov=False):
    m = 0 * x
    for k, loss in enumerate(losses):
        g = loss.grad(x)
        m = momentum * m + g
        x = x - rate(learning_rate, k) * (momentum * m + g if nesterov else m)
        yield x


def nesterov(x, losses, learning_rate, momentum_):
    return momentum(x, losses, learning_rate, momentum_, nesterov=True)


def ema_momentum(x, losses, learning_rate, decay):
    m = 0 * x
    for k, loss in enumerate(losses):
        m = decay * m + (1 - decay) * loss.grad(x)
        x = x - rate(learning_rate, k) * m
        yield x


PAGES = {  # name: [(page, arguments), …]
    "gradient_descent": [(momentum, {"learning_rate": halving})],
    "heavy_ball": [(momentum, {"learning_rate": 0.1, "momentum": 0.8})],
    "nesterov": [
        (lambda *a, momentum, **kw: nesterov(*a, momentum_=momentum, **kw), {"learning_rate": halving, "momentum": 0.8})
    ],
    "ema_momentum": [(ema_momentum, {"learning_rate": halving, "decay": 0.8})],
    "sgd": [(momentum, {"learning_rate": 0.1, "momentum": 0.7, "nesterov": True})],
}

MUTANTS = {  # name: {mistake: (right, wrong)}
    "gradient_descent": {
        "ascends": ("-at(learning_rate, t) * g", "at(learning_rate, t) * g"),
        "schedule read one step late": ("at(learning_rate, t)", "at(learning_rate, t + 1)"),
        "sign of the gradient": ("at(learning_rate, t) * g", "at(learning_rate, t) * jnp.sign(g)"),
    },
    "heavy_ball": {
        "averages": ("memory.trace + g", "memory.trace + (1 - momentum) * g"),
        "stale momentum": ("at(learning_rate, t) * m,", "at(learning_rate, t) * memory.trace,"),
        "rate before momentum": (
            "memory.trace + g\n        return -at(learning_rate, t) * m,",
            "memory.trace + at(learning_rate, t) * g\n        return -m,",
        ),
    },
    "nesterov": {
        "heavy ball": ("(momentum * m + g)", "m"),
        "stale momentum": ("(momentum * m + g)", "(momentum * memory.trace + g)"),
        "looks ahead a whole step": ("(momentum * m + g)", "(m + g)"),
    },
    "ema_momentum": {
        "sums": ("(1 - decay) * g", "g"),
        "bias corrected": ("at(learning_rate, t) * m", "at(learning_rate, t) * m / (1 - decay**t)"),
        "weights swapped": ("decay * memory.ema + (1 - decay) * g", "(1 - decay) * memory.ema + decay * g"),
    },
    "sgd": {
        "nesterov forgotten": ("_nesterov if nesterov else heavy_ball", "heavy_ball"),
        "nesterov always": ("_nesterov if nesterov else heavy_ball", "_nesterov"),
        "momentum forgotten": ("if momentum is None:", "if True:"),
    },
}
