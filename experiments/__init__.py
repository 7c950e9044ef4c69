"""One script per question; `sandbox reproduce` runs them."""
