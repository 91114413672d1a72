"""What export raises where the user can mend it."""


class ExportError(Exception):
    """A folder, setting or request that cannot be used; the message says what it is and what to do."""
