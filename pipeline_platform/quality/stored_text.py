"""Text that PostgreSQL can store: a vendor's record may hold what a `text` column refuses."""


def storable(text: str | None) -> str | None:
    r"""Return the text with NUL written as `\x00` and lone surrogates as `?`."""
    if text is None:
        return None
    return text.replace("\x00", "\\x00").encode("utf-8", "replace").decode("utf-8")
