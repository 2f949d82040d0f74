"""The verbs behind `make`, one file each."""
