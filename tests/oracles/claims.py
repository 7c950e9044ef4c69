"""What the tests of an experiment ask: its claims hold, something breaks each, and a break fails those that it names."""


def sound(found, claims, panels, broken):
    """All of so many claims hold, and every one is named by a part of its name in a break, the last of its entries."""
    names = [claim.name for claim in found.claims]
    assert len(names) == claims
    assert [claim.name for claim in found.claims if not claim.holds] == []
    parts = set.union(*(parts for *_, parts in broken.values()))
    assert [name for name in names if not any(part in name for part in parts)] == []
    figure, caption = found.figures["figure"]
    assert len(figure.axes) == panels
    assert "float64" in caption.lower()


def fails(claims, parts):
    """As many claims fail as are named by a part of their names, and those."""
    failed = [claim.name for claim in claims if not claim.holds]
    assert len(failed) == len(parts), failed
    assert all(any(part in name for name in failed) for part in parts), failed
