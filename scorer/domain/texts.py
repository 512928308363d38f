"""Texts that clients send and PostgreSQL cannot store."""


def is_storable(text: str) -> bool:
    """Return True if a text column can hold `text`: no NUL and nothing that UTF-8 cannot encode (lone surrogates).

    A look-up by any other text finds nothing, so it need not, and cannot, be asked of the database.
    """
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
