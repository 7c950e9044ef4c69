"""A claim: what was measured beside what was expected, and the verdict."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

RELATIONS = {"≈": "≈", "~": "≈", "≤": "≤", "<=": "≤", "≥": "≥", ">=": "≥"}


@dataclass(frozen=True)
class Relative:
    """A tolerance that is a share of what is expected."""

    ratio: float


def relative(ratio: float) -> Relative:
    """A tolerance of ratio · |expected|, made absolute by the claim that gets it; 0 where 0 is expected."""
    return Relative(ratio)


@dataclass(frozen=True)
class Claim:
    """measured relation expected, within an absolute tolerance.

    ≈ (or ~):   |measured − expected| ≤ tolerance
    ≤ (or <=):  measured ≤ expected + tolerance
    ≥ (or >=):  measured ≥ expected − tolerance

    A measured or expected NaN fails. source says where the expectation comes from.
    """

    name: str
    measured: float
    expected: float
    relation: str = "≈"
    tolerance: float | Relative = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            known = " ".join(RELATIONS)
            raise ValueError(f"claim '{self.name}': the relation '{self.relation}' is unknown, use one of {known}")
        for field in ("measured", "expected"):
            object.__setattr__(self, field, _number(self.name, field, getattr(self, field)))
        if isinstance(self.tolerance, Relative):
            share = self.tolerance.ratio * abs(self.expected)
            object.__setattr__(self, "tolerance", 0.0 if math.isnan(share) else share)
        tolerance = _number(self.name, "tolerance", self.tolerance)
        if not tolerance >= 0:
            raise ValueError(f"claim '{self.name}': the tolerance is {tolerance}, a number ≥ 0 was expected")
        object.__setattr__(self, "tolerance", tolerance)

    @property
    def holds(self) -> bool:
        """The verdict."""
        relation, tolerance = RELATIONS[self.relation], float(self.tolerance)  # type: ignore[arg-type]
        if relation == "≈":
            return abs(self.measured - self.expected) <= tolerance
        if relation == "≤":
            return self.measured <= self.expected + tolerance
        return self.measured >= self.expected - tolerance


def same(name: str, apart: Any, source: str, tolerance: float = 1e-12) -> Claim:
    """Two sides that ought to be one: their difference, or the largest of several, is 0."""
    return Claim(name, float(np.max(np.abs(apart))), 0.0, "≈", tolerance, source)


def within(name: str, source: str, *sides: tuple[Any, Any], errors: float = 4.0) -> Claim:
    """Means over samples, the first axis, beside their laws: of all, the most standard errors between the two."""
    far = [(s.mean(0) - law) / s.std(0, ddof=1) * np.sqrt(len(s)) for s, law in sides]
    most = float(np.max([np.max(np.abs(f)) for f in far]))  # NaN where one is NaN, which Python's max may drop
    return Claim(f"{name}, standard errors off, most", most, errors, "≤", 0.0, source)


def as_dict(claim: Claim) -> dict[str, Any]:
    """The claim and its verdict in JSON's types; NaN and infinities, which JSON lacks, become strings."""
    return {
        "name": claim.name,
        "measured": _to_json(claim.measured),
        "expected": _to_json(claim.expected),
        "relation": claim.relation,
        "tolerance": _to_json(claim.tolerance),
        "source": claim.source,
        "holds": claim.holds,
    }


def from_dict(record: dict[str, Any]) -> Claim:
    """The claim that `as_dict` wrote; its verdict is made anew from the numbers."""
    missing = {"name", "measured", "expected"} - set(record)
    if missing:
        raise ValueError(f"a claim lacks {', '.join(sorted(missing))}: it has {', '.join(sorted(record)) or 'nothing'}")
    numbers = {field: float(record.get(field, 0.0)) for field in ("measured", "expected", "tolerance")}
    return Claim(
        name=str(record["name"]),
        relation=record.get("relation", "≈"),
        source=str(record.get("source", "")),
        **numbers,
    )


def _number(name: str, field: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"claim '{name}': {field} is {value!r}, one number was expected") from None


def _to_json(value: Any) -> float | str:
    return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
