"""Other tools doing the same job, each in an environment of its own with pinned versions.

The scripts here are run by those environments and import nothing of this project.
"""
