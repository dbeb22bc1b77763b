"""Text of others on our terminal: what would steer the terminal is shown, not obeyed.

A registry's error message, an annotation or a name may hold escape sequences that
clear the screen, retitle the window or turn the direction of writing around.
"""

import re

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""The same text with control characters spelled out (`\x1b`); line feeds and tabs stay."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)
