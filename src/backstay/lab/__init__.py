"""The lab: load, faults and comparisons that end in PASS, FAIL or INCONCLUSIVE.

The rooms inside are separate doors, so that `backstay lab load` never imports
what only `backstay lab compare` needs:

- `backstay.lab.load`: open-loop load against any HTTP service.
- `backstay.lab.calibrate`: the knee, found by rate steps.
"""
