"""What a terminal would obey is not shown: text from models, files and arguments is made printable first."""


def printable(text: str, keep: str = '') -> str:
    """Replaces every character that is not printed as itself, escapes and line breaks among them, by its escape sequence.

    Args:
        text: of any origin.
        keep: characters to leave as they are, for example line breaks.
    """
    return ''.join(c if c.isprintable() or c in keep else c.encode('unicode_escape').decode() for c in text)
