"""Benchmarks: what a publish costs, beside what the server itself needs for the same rows.

Belongs here: making data, starting servers, timing whole processes, writing RESULTS.md. Quote the
ratios: seconds are those of one machine on one day.
"""
