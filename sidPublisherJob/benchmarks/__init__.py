"""Benchmarks: what a publish costs, beside what the server itself needs for the same rows.

Belongs here: making data, starting servers, timing whole processes, and rendering what came out.
`RESULTS.json` holds the figures, `RESULTS.md` and `RESULTS.svg` are made of it. Quote the ratios:
seconds are those of one machine on one day.
"""
