"""Every optimizer by its name, the simplest family first."""

import difflib

from sandbox.optimizers.entries_leafwise import ADAPTIVE, GRADIENT, LAYERWISE, MEMORIES, MOMENTS, SIGN
from sandbox.optimizers.entries_treewise import AVERAGING, MATRIX, MODEL_BASED, PARAMETER_FREE, SECOND_ORDER, WRAPPERS
from sandbox.optimizers.entry import Entry

ENTRIES: dict[str, Entry] = {
    **GRADIENT,
    **SIGN,
    **ADAPTIVE,
    **MOMENTS,
    **MEMORIES,
    **LAYERWISE,
    **MATRIX,
    **AVERAGING,
    **PARAMETER_FREE,
    **MODEL_BASED,
    **SECOND_ORDER,
    **WRAPPERS,
}


def names() -> list[str]:
    """Every optimizer, the simplest first."""
    return list(ENTRIES)


def find(name: str) -> Entry:
    """The entry of this name; a ValueError that suggests the nearest one where there is none."""
    if name in ENTRIES:
        return ENTRIES[name]
    near = difflib.get_close_matches(name, ENTRIES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(ENTRIES)}"
    raise ValueError(f"there is no optimizer called {name!r}; {hint}")
