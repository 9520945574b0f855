"""How many examples hypothesis tries: few that fit into each run, many in a thorough one.

`HYPOTHESIS_PROFILE=thorough make test` tries ten times as many of each property, as at night.
"""

import os
from typing import Any

from hypothesis import settings

TIMES = {"any_machine": 1, "thorough": 10}
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "any_machine")

for _name, _times in TIMES.items():
    # How long an example takes says how busy the machine is; benchmarks measure speed.
    settings.register_profile(_name, deadline=None, max_examples=100 * _times)
settings.load_profile(PROFILE)


def examples(count: int, **others: Any) -> settings:
    """Try so many examples of a property in each run, ten times as many in a thorough one.

    Choose the count by what an example costs: a property of half a second has few of them.
    """
    return settings(max_examples=count * TIMES[PROFILE], **others)
