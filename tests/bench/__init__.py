"""Speed and size against floors taken in the same run; `python -m tests.bench` prints one table and asserts nothing."""
