"""Which known name was meant, when one is at most two letters away."""

from collections.abc import Iterable

_NEAR = 2


def hint(word: str, known: Iterable[str], sign: str = "") -> str:
    """` (did you mean X?)` for the nearest known name, or ``; `sign` stands before it."""
    near = [(_distance(word, other), other) for other in known if _comparable(word, other)]
    distance, other = min(near, default=(_NEAR + 1, ""))
    return f" (did you mean {sign}{other}?)" if 0 < distance <= _NEAR else ""


def _comparable(word: str, other: str) -> bool:
    return abs(len(word) - len(other)) <= _NEAR and len(word) <= 200


def _distance(a: str, b: str) -> int:
    """Levenshtein's: letters put in, taken out or changed."""
    before = list(range(len(b) + 1))
    for row, left in enumerate(a, 1):
        now = [row]
        for column, right in enumerate(b, 1):
            changed = before[column - 1] + (left != right)
            now.append(min(changed, before[column] + 1, now[-1] + 1))
        before = now
    return before[-1]
