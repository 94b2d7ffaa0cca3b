"""Run the command `pipeline` from a checkout: ``python run_pipeline.py --help``."""

import sys

from tmg_etl.cli import pipeline

if __name__ == "__main__":
    sys.exit(pipeline.main())
