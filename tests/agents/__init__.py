"""Tests with the SDKs of other platforms, each in an environment of its own: `.ci/agents` runs them."""
