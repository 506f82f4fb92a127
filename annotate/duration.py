"""How do people say how long something takes?"""


def in_words(seconds: float) -> str:
    """A time as people say it: "8.3 s", "12 min", "5 h 10 min"."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60:,} h {minutes % 60:02} min"
