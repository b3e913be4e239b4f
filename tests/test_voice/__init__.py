"""Tests of the voice layer."""
