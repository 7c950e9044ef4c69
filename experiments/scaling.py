"""How does a sweep scale? Measured here over devices and processes, fitted to a model, and carried on to 10⁴ devices.

The sweep is Adam on the digits network 64-64-10, 100 steps of 128 examples a lane. Every process prints its seconds;
processes and sizes are interleaved, and a number is the median over the rounds. The model is fitted to one device
alone; two devices and two processes, which it has not seen, say how far to believe it.

    python experiments/scaling.py
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

benchmark = True
ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3  # of processes; each of them times every size as often again
LANES = (128, 256, 512)
WIDTH, CHUNK = 4, 32  # lanes that step together; lanes a device computes between two writes
LANE_BYTES = 100 * 2 * 4 + 12  # of results: two traces of 100 steps, value, status and diverged_at
HOST = 8  # devices of one host, of the machines that are predicted
DISK = 1e9  # bytes a second that all hosts together write to a shared file system
DEVICES = (1, 2, 8, 100, 1_000, 10_000)
STRONG, WEAK = 1_000_000, 10_000  # lanes in all, and lanes for each device
ASSUMPTIONS = f"""- A device is one core of the machine that was measured; a host has {HOST}.
- Hosts start at the same time; each compiles for itself, once, from an empty cache.
- A program holds no collective: devices wait for one another only at the end, for the slowest. Their times scatter as
  repeated sweeps did here, normally and independently, so that the slowest of n is √(2 ln n) deviations late.
- Lanes are handed out in whole groups of {WIDTH}.
- Writing hides behind computing, but for a process's last chunk, until all hosts together reach {DISK / 1e9:g} GB/s.
- Processes meet four times; a meeting costs what it did for two processes, times log₂ of their number.
- What a call of the compiled program costs beside its lanes, transfers of arguments and results included, stays."""


class Model(NamedTuple):
    """Seconds."""

    start: float  # of a process: imports, devices, and word of the others
    compile: float
    call: float  # of a sweep, whatever its size
    lane: float  # of one lane on one device, transfer of its results included
    write: float  # of one lane into a store, by one process
    meet: float  # of two processes
    spread: float  # of the time of a sweep, relative


def parts(model: Model, lanes: int, devices: int, hosts: int, stored: bool = True) -> dict[str, float]:
    """Where the seconds of a sweep go, by the model."""
    own = -(-lanes // (devices * WIDTH)) * WIDTH
    run = own * model.lane
    late = run * model.spread * np.sqrt(2 * np.log(devices))
    share = lanes / hosts
    last = min(share, CHUNK * devices / hosts) * model.write
    write = max(last, share * model.write - run, lanes * LANE_BYTES / DISK - run) if stored else 0.0
    meet = 4 * model.meet * np.log2(hosts)
    return {"start": model.start, "compile": model.compile, "call": model.call, "run": run} | {
        "slowest": late,
        "write": write,
        "meet": meet,
    }


def worker(address: str, count: int, index: int, devices: int, born: float, folder: str) -> None:
    """One of the processes: what it takes to start, to compile, and to sweep, as a line of JSON."""
    import jax

    import sandbox

    sandbox.use_all_cores(devices)
    if count > 1:
        jax.distributed.initialize(address, count, index)
    from sandbox import optimizers, problems
    from sandbox.engine import run
    from sandbox.engine.lanes import Plan
    from sandbox.sweeps import log, sweep, team

    problem, places = problems.digits_mlp(hidden=(64,)), iter(range(99))

    def train(learning_rate: Any) -> Any:
        method = optimizers.adam(learning_rate)
        return run(problem, method, steps=100, batch_size=128, key=jax.random.key(0))

    def seconds(lanes: int, on: int, stored: bool) -> tuple[float, Any]:
        plan = Plan(WIDTH, CHUNK // WIDTH * on, on)
        store = Path(folder) / f"{count} {devices} {next(places)}" if stored else None
        began = time.perf_counter()
        ds = sweep(train, learning_rate=log(1e-4, 1.0, lanes), plan=plan, store=store)
        return time.perf_counter() - began, ds

    found: dict[str, Any] = {"start": time.time() - born}
    ways = [(1, True)] if count > 1 else [(on, stored) for on in range(1, devices + 1) for stored in (False, True)]
    first = [seconds(CHUNK * on * count, on, True)[1] for on in range(1, devices + 1)]
    found["compile"] = float(first[0].attrs["compile_seconds"])
    found["sweeps"] = [
        {"lanes": lanes, "devices": on * count, "stored": stored, "seconds": seconds(lanes, on, stored)[0]}
        for _ in range(3)
        for lanes in LANES
        for on, stored in ways
    ]
    began = time.perf_counter()
    for number in range(20):
        team.meet(f"again {number}")
    found["meet"] = (time.perf_counter() - began) / 20
    if team.leads():
        print(json.dumps(found))


def processes(count: int, devices: int, folder: str) -> dict[str, Any]:
    """What the first of so many processes prints."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    arguments = lambda i: map(str, ("worker", address, count, i, devices, time.time(), folder))
    team = [
        subprocess.Popen([sys.executable, __file__, *arguments(i)], stdout=subprocess.PIPE, text=True)
        for i in range(count)
    ]
    printed = [process.communicate()[0] for process in team]
    if any(process.returncode for process in team):
        raise RuntimeError(f"one of {count} processes failed; its last words are above")
    return json.loads(printed[0].splitlines()[-1])


def measure() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What every process found: one process on all devices, and one process for each."""
    alone, teams = [], []
    for number in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            for several in (False, True) if number % 2 else (True, False):
                (teams if several else alone).append(processes(2 if several else 1, 1 if several else 2, folder))
    return alone, teams


def times(found: list[dict[str, Any]], **which: Any) -> np.ndarray:
    """The seconds of all sweeps of one kind."""
    sweeps = [each for one in found for each in one["sweeps"]]
    return np.array([s["seconds"] for s in sweeps if all(s[name] == value for name, value in which.items())])


def fit(alone: list[dict[str, Any]], teams: list[dict[str, Any]]) -> Model:
    """The model of one device, of what a store adds to it, and of two processes that meet."""
    bare = [np.median(times(alone, lanes=n, devices=1, stored=False)) for n in LANES]
    kept = [np.median(times(alone, lanes=n, devices=1, stored=True)) for n in LANES]
    lane, call = np.polyfit(LANES, bare, 1)
    more = np.polyfit(LANES, kept, 1)[0] - lane
    each = [times(alone, lanes=n, devices=1, stored=False) for n in LANES]
    return Model(
        start=float(np.median([one["start"] for one in teams])),
        compile=float(np.median([one["compile"] for one in teams + alone])),
        call=max(0.0, float(call)),
        lane=float(lane),
        write=max(0.0, float(more)),
        meet=float(np.median([one["meet"] for one in teams])),
        spread=float(np.median([np.std(t) / np.mean(t) for t in each])),
    )


def checked(model: Model, alone: list[dict[str, Any]], teams: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Strong scaling here: measured, and what the model says, which has only seen one device."""
    rows = []
    ways = (
        ("one process, one device", alone, 1, 1, False),
        ("one process, two devices", alone, 2, 1, False),
        ("one process, two devices, a store", alone, 2, 1, True),
        ("two processes of one device, a store", teams, 2, 2, True),
    )
    for what, found, devices, hosts, stored in ways:
        for lanes in LANES:
            seconds = times(found, lanes=lanes, devices=devices, stored=stored)
            said = parts(model, lanes, devices, hosts, stored)
            told = sum(said.values()) - said["start"] - said["compile"]
            slow = times(alone, lanes=lanes, devices=1, stored=stored)
            rows.append(
                {
                    "what": what,
                    "lanes": lanes,
                    "seconds": f"{np.median(seconds):.2f} ({seconds.min():.2f} … {seconds.max():.2f})",
                    "model": f"{told:.2f}",
                    "measured / model": f"{np.median(seconds) / told:.2f}",
                    "speed-up": f"{np.median(slow) / np.median(seconds):.2f}",
                }
            )
    return rows


def predicted(model: Model) -> list[dict[str, Any]]:
    """Strong and weak scaling on more devices than there are here."""
    rows = []
    for kind in ("strong", "weak"):
        for devices in DEVICES:
            lanes = STRONG if kind == "strong" else WEAK * devices
            said = parts(model, lanes, devices, -(-devices // HOST))
            one = sum(parts(model, STRONG if kind == "strong" else WEAK, 1, 1).values())
            total = sum(said.values())
            ideal = one / devices if kind == "strong" else one
            rows.append(
                {"scaling": kind, "devices": devices, "lanes": lanes}
                | {name: f"{seconds:.3g}" for name, seconds in said.items()}
                | {"seconds": f"{total:.4g}", "efficiency": f"{ideal / total:.2f}"}
            )
    return rows


def draw(model: Model, path: Path) -> None:
    """Where the seconds go on more and more devices, for a fixed sweep and for one that grows with them."""
    import matplotlib.pyplot as plt

    from sandbox.report.plots import style

    devices = np.unique(np.geomspace(1, DEVICES[-1], 60).astype(int))
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.0), sharex=True)
        fixed, growing = np.full(len(devices), STRONG), WEAK * devices
        titles = f"strong: {STRONG:,} lanes", f"weak: {WEAK:,} lanes a device"
        for ax, title, lanes in zip(axes, titles, (fixed, growing), strict=True):
            said = [parts(model, int(n), int(d), -(-int(d) // HOST)) for n, d in zip(lanes, devices, strict=True)]
            for name in said[0]:
                ax.plot(devices, [each[name] for each in said], label=name)
            ax.plot(devices, [sum(each.values()) for each in said], "k--", label="all together")
            ax.set(xscale="log", yscale="log", xlabel="devices", ylabel="seconds", title=title, ylim=(1e-3, None))
        axes[0].legend(ncols=2)
        figure.savefig(path)
        plt.close(figure)


def main() -> None:
    """Measure, fit, check, predict; results/scaling/ holds the tables and the figure."""
    from sandbox import report

    alone, teams = measure()
    model = fit(alone, teams)
    folder = ROOT / "results" / "scaling"
    folder.mkdir(parents=True, exist_ok=True)
    here, far = checked(model, alone, teams), predicted(model)
    two = times(alone, lanes=LANES[-1], devices=2, stored=True), times(teams, lanes=LANES[-1], devices=2, stored=True)
    ratio = np.median(two[0]) / np.median(two[1])
    words = [
        "# Scaling\n",
        "Measured here (sweeps without starting and compiling; speed-up against one device):\n",
        report.markdown(here),
        f"\nTwo processes against one with two devices, {LANES[-1]:,} lanes with a store: {ratio:.2f} of its speed.\n",
        "The model, in seconds: " + ", ".join(f"{k} {v:.3g}" for k, v in model._asdict().items()) + ".\n",
        "Predicted, in seconds:\n",
        report.markdown(far),
        "\nAssumed:\n",
        ASSUMPTIONS,
    ]
    report.write_csv(folder / "measured.csv", here)
    report.write_csv(folder / "predicted.csv", far)
    (folder / "scaling.md").write_text("\n".join(words) + "\n")
    draw(model, folder / "figure.png")
    print("\n".join(words))


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        _, _, address, count, index, devices, born, folder = sys.argv
        worker(address, int(count), int(index), int(devices), float(born), folder)
    else:
        main()
