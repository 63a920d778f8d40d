"""Completions over HTTP: the OpenAI protocol, continuous batching, Ray Serve."""
