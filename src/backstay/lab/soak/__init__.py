"""A soak: one variant under a steady load for long, with faults that come and go, and what is left at the end."""

from backstay.lab.soak._judge import SoakLimits, SoakLook, judge_soak
from backstay.lab.soak._plan import soak_faults
from backstay.lab.soak._run import Soak, SoakOptions, soak

__all__ = ["Soak", "SoakLimits", "SoakLook", "SoakOptions", "judge_soak", "soak", "soak_faults"]
