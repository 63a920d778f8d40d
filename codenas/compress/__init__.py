"""Smaller files of trained models."""
