"""Lines of `make acceptance` whose measurement is a test: what is promised, and the tests that say so."""

benchmark = True

TESTS = {
    "a diverged lane is marked, keeps finite params": "tests/test_run.py -k 'diverge or overflow or infinite'",
    "the other lanes are bit-identical": "tests/test_sweep.py -k never_notice",
    "kill −9, start again: only the rest, bit for bit": "tests/test_store.py -k killed",
    "bad input: one line, exit code 2, nothing written": "tests/test_cli.py",
    "semantic mutants of each optimizer are killed": "tests/test_mutants.py",
    "each claim fails for a broken method": "tests/test_experiments.py",
    "each recursion equals its page in NumPy": "tests/test_parity.py -k page_in_numpy",
    "zero, half precision, empty trees: never NaN": "tests/test_contract.py tests/test_adaptive.py",
    "beside Optax on anything that hypothesis draws": "tests/test_differential.py",
    "the digits MLP through Optax's wrappers and nnx": "tests/test_training.py tests/test_wrappers.py",
    "every float is an axis, a lane the run alone": "tests/test_sweep_catalogue.py",
    "patches @ weights are lax's convolution to 1e-6": "tests/test_convolution.py",
    "one trace a program; the next one compiled meanwhile": "tests/test_sweep.py -k 'traced_once or compiled_while'",
    "halving and Hyperband as by hand; tune in a budget": "tests/test_halving.py",
    "a run in pieces, killed ten times: bit for bit": "tests/test_checkpoint.py",
    "two processes equal one; killed at ten moments, bit for bit": "tests/test_team.py",
    "Ray's workers equal one process; killed at ten moments": "tests/test_cluster.py",
    "kernel machines: KKT, gap, projected gradient, LIBSVM": "tests/test_svm.py tests/test_kernels.py",
    "digits and MNIST: sound experiments hold, others fail": "tests/test_accuracy.py",
    "readers under fuzzing: file and place, no crash": "tests/test_files.py",
    "AlexNet: 60,965,224 parameters, and a step": "tests/test_language.py -k alexnet",
    "full disk, damage, jumping clock, two writers": "tests/test_store.py -k 'damage or full or clock or writer'",
    "Ctrl-C leaves what is finished": "tests/test_cli.py -k ctrl_c",
    "LANDSCAPE's table: grids, directions, projections, values": (
        "tests/test_landscape.py tests/test_directions.py tests/test_surface.py tests/test_paths.py"
    ),
    "curvature: exact Hessians, dense eigh, eigsh at 20,000": "tests/test_curvature.py",
    "densities, traces, diagonals": "tests/test_spectrum.py",
    "permuted copies, Bézier curves, basins, box dimensions": (
        "tests/test_connectivity.py tests/test_basins.py tests/test_trainability.py"
    ),
    "the interactive pages in a browser": "tests/test_browser.py tests/test_interactive.py",
    "sandbox landscape: exports, stores, bad input": "tests/test_cli.py -k landscape",
    "the gallery's claims fail where something is broken": (
        "tests/test_edge_of_stability.py tests/test_ground.py tests/test_escapes.py tests/test_stability.py "
        "tests/test_races.py tests/test_spurious_minima.py tests/test_profiles.py"
    ),
}
