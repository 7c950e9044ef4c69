"""sandbox: a research sandbox for optimization in JAX.

A problem and an optimizer make a run; many runs make a sweep; a sweep is kept in a store, explained by theory and
landscape, and told in a report.

    from sandbox import optimizers, problems       what is minimised, and how
    from sandbox.engine import run, solve          one run, and a certified optimum
    from sandbox.sweeps import sweep, log          many runs
    from sandbox import store, theory, report      results kept, explained and told
"""

__version__ = "0.1.0"


def compile_fast() -> None:
    """Let XLA spend less on each program, for those that run shorter than they compile; their loops may run slower.

    Call it before the first JAX operation: XLA reads these flags once.
    """
    import os

    import jax

    emitters = "--xla_cpu_use_fusion_emitters=false"
    if jax.__version_info__ < (0, 11):  # a flag that XLA no longer knows would end the process
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {emitters} --xla_backend_optimization_level=1"


def use_all_cores(devices: int | None = None) -> int:
    """Make every CPU core a JAX device, so that sweeps use them all; call it before the first JAX operation.

    Returns the number of devices. Raises RuntimeError when JAX has started with fewer.
    """
    import os

    import jax

    wanted = devices or len(os.sched_getaffinity(0))
    try:
        jax.config.update("jax_num_cpu_devices", wanted)
    except RuntimeError as error:
        if (have := len(jax.local_devices())) < wanted:
            raise RuntimeError(
                f"JAX has started with {have} devices; call sandbox.use_all_cores() before the first "
                f"JAX operation to get {wanted}"
            ) from error
    return wanted
