"""Sizes and times as people read them."""


def human_size(count: int) -> str:
    """Bytes in decimal units, three digits: `12.3MB` (as docker and skopeo show them)."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{count}B" if unit == "B" else f"{amount:.3g}{unit}" if amount < 1000 else "huge"


def human_time(seconds: float) -> str:
    """`0.4s`, `12.3s`, `2m05s`, `1h02m`."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"
