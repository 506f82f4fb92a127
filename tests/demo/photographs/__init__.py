"""Tests of the demo's first act."""
