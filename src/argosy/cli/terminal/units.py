"""Sizes and times as people read them."""

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def human_size(count: int) -> str:
    """Bytes in decimal units, three digits: `12.3MB` (as docker and skopeo show them)."""
    if count < 1000:
        return f"{count}B"
    amount, unit = count / 1000, 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:  # what would be rounded to 1000
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.3g}{_UNITS[unit]}"


def human_time(seconds: float) -> str:
    """`0.4s`, `12.3s`, `2m05s`, `1h02m`."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"


_AGO = (
    (86400 * 365, "year"),
    (86400 * 30, "month"),
    (86400 * 7, "week"),
    (86400, "day"),
    (3600, "hour"),
    (60, "minute"),
    (1, "second"),
)


def ago(seconds: float) -> str:
    """`3 days ago`, `1 hour ago`, `now`."""
    for length, name in _AGO:
        if (count := int(seconds // length)) > 0:
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "now"
