"""What the tests ask of an error: one readable line."""

import pytest


def refused(call, words):
    """A ValueError of one line that has these words."""
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
