"""How large a sheet may be, and how many of its entries fit."""

MAX_SIDE = 4000  # pixels; many viewers and messengers scale down or refuse larger images


def choose_columns(count: int, columns: int, most: int, fitting_rows: int) -> tuple[int, int]:
    """The number of columns with which most of `count` equal entries fit, and how many fit.

    Args:
        count: entries.
        columns: preferred number of columns; it stays if everything fits.
        most: largest number of columns.
        fitting_rows: rows that fit below each other.
    """
    columns = max(1, min(columns, count))
    if columns * fitting_rows < count:
        columns = max(columns, min(most, -(-count // max(fitting_rows, 1))))
    return columns, min(count, columns * max(fitting_rows, 1))


def and_more(count: int) -> str:
    """The line that counts what a sheet leaves out."""
    return f"and {count} more"
