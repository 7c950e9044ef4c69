"""One run: the loop, its guard, its lanes, and a certified optimum."""
