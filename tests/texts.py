"""Texts that people write and texts that nobody expects, for laws that hold for any text."""

from hypothesis import strategies as st

LONG = 10_000  # characters without a space

# A word of 88 Thai letters, an address, one character again and again, marks without a letter, and so on.
HARD = [
    "ก" * 88,
    "a" * 257,
    "https://example.com/" + "photos/" * 60 + "1.jpg",
    *(
        part * (LONG // len(part))
        for part in ("a", "กขค", "a,", "ab1.", "👩‍👩‍👧", "\u0301", "犬", "#", "##a", "'s", "\x00\x1f", "𐐔", "<a ")
    ),
    "",
    " \t\n\u2028\u3000 ",
    "\x00",
    "\ufeff\u200b\u200d\u00ad",
    "[END] [PAD] ##s [UNK]",
    "🙂",
    "\U0010ffff\ufffd",
    "ﬁ ½ ™ ſ ß İ ǅ",
]

# Any text that UTF-8 can hold; a data set cannot hold another.
TEXTS = st.one_of(st.sampled_from(HARD), st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
