"""Compares our PTB tokenizer with the Java tokenizer of pycocoevalcap, caption by caption.

    python benchmarks/ptb_parity.py [CAPTIONS.txt …] [--write-cases] [--write-characters]

Reads the strings in tests/metrics/ptb_cases.tsv; all captions of Flickr8k if ../shared (or VL_KERAS_SHARED) exists, and
20,000 random variations of them (joined words, quotes, prices, contractions, …); and any given text files with one
caption per line. Needs `java` (8 or later). Exits with status 1 if an unchanged caption differs, or more than 1 in
1,000 of the variations.
"""

import argparse
import os
import random
import re
import shutil
import sys
import textwrap
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vl_keras.metrics.ptb_tokenizer import ptb_tokenize  # noqa: E402

CHARACTERS = ROOT / "vl_keras" / "metrics" / "ptb_characters.py"
CASES = ROOT / "tests" / "metrics" / "ptb_cases.tsv"


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="text files, one caption per line")
    parser.add_argument(
        "--write-cases", action="store_true", help="store the tokens of Java for the strings of the test"
    )
    parser.add_argument(
        "--write-characters", action="store_true", help="store what Java does with each character beyond ASCII"
    )
    options = parser.parse_args()
    if not shutil.which("java"):
        sys.exit("`java` is not on the PATH. Install Java 8 or later.")
    cases = [line.split("\t")[0] for line in CASES.read_text(encoding="utf-8").split("\n") if line]
    if options.write_cases:
        rows = [f"{case}\t{tokens}\n" for case, tokens in zip(cases, java_tokens(cases), strict=True)]
        CASES.write_text("".join(rows), encoding="utf-8")
    if options.write_characters:
        write_characters()
    differ = compare("made-up strings", cases)
    archive = Path(os.environ.get("VL_KERAS_SHARED", ROOT / ".." / "shared")) / "data/flickr8k/Flickr8k_text.zip"
    if archive.is_file():
        with zipfile.ZipFile(archive) as text:
            captions = [line.split("\t")[1] for line in text.read("Flickr8k.token.txt").decode("utf-8").splitlines()]
        differ += compare("Flickr8k captions", captions)
        rng = random.Random(0)
        changed = [change(rng.choice(captions), rng) for _ in range(20_000)]
        differ += compare("changed captions", changed) > len(changed) // 1000
    else:
        print(f"Flickr8k captions: skipped, {archive} not found")
    for file in options.files:
        differ += compare(str(file), file.read_text(encoding="utf-8").splitlines())
    sys.exit(bool(differ))


def java_tokens(captions: Sequence[str]) -> list[str]:
    """The tokens of the `PTBTokenizer` of pycocoevalcap."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    # Some rules read beyond the end of a line. An empty caption at the end gives every real caption a following line.
    lines = [*captions, ""]
    tokens = PTBTokenizer().tokenize({index: [{"caption": line}] for index, line in enumerate(lines)})
    return [tokens[index][0] for index in range(len(captions))]


def write_characters() -> None:
    """Writes the tables of `ptb_characters.py` from what the Java tokenizer does with each character in a word."""
    breaks = {0x85, 0x2028, 0x2029}  # end a line
    codes = [code for code in range(0x80, 0x10000) if code not in breaks and not 0xD800 <= code <= 0xDFFF]
    tokens = java_tokens([f"xk{chr(code)}zk" for code in codes])
    starts = java_tokens([f"{chr(code)}zk" for code in codes])
    found: dict[str, list[int]] = {"LETTERS": [], "MARKS": [], "JOINERS": []}
    for code, inside, start in zip(codes, tokens, starts, strict=True):
        count = len(inside.split(" "))
        if count == 3:
            found["MARKS"].append(code)
        elif count == 1 and inside != "xkzk":
            found["LETTERS" if start != "zk" else "JOINERS"].append(code)
    text = CHARACTERS.read_text(encoding="utf-8")
    for name, own in found.items():
        members = set(own)
        firsts = [code for code in own if code - 1 not in members]
        lasts = [code for code in own if code + 1 not in members]
        pairs = zip(firsts, lasts, strict=True)
        ranges = " ".join(f"{first:x}" if first == last else f"{first:x}-{last:x}" for first, last in pairs)
        table = "\n".join(textwrap.wrap(ranges, 118, break_on_hyphens=False))
        text = re.sub(f'{name} = """[^"]*"""', f'{name} = """\n{table}\n"""', text)
    CHARACTERS.write_text(text, encoding="utf-8")


def compare(name: str, captions: Sequence[str]) -> int:
    """Prints the number of captions that differ and the first few; returns the number."""
    start = time.perf_counter()
    ours = ptb_tokenize(captions)
    seconds = time.perf_counter() - start
    rows = zip(captions, ours, java_tokens(captions), strict=True)
    different = [row for row in rows if row[1] != row[2]]
    print(f"{name}: {len(different)} of {len(captions)} differ; ours took {seconds:.1f} s")
    for caption, our, theirs in different[:10]:
        print(f"  {caption!r}\n    ours {our!r}\n    Java {theirs!r}")
    return len(different)


def change(caption: str, rng: random.Random) -> str:
    """Makes one to three random changes that are hard to tokenize."""
    special = (
        "Mr. St. U.S. don't it's cannot T-shirt jack-o'-lantern 'em B&W (left) ... -- “hi” ’s café :) http://a.com/b "
        "a@b.com #7 $5 50% 1990's '90s etc. e.g. 6'2\" w/ o'clock y'all gonna ma'am AT&T x-ray 3-D 4x4 and/or 10:30 "
        "a.m. ½ — … é naïve Coca-Cola's O'Neill mother-in-law's dogs'"
    ).split()
    after_numbers = [
        "",
        "s",
        "th",
        "%",
        "'",
        '"',
        " ft.",
        "-foot",
        " 1/2",
        ".5",
        ",000",
        " lbs.",
        "x4",
        "am",
        "-5",
        "/2",
    ]
    words = caption.split()
    for _ in range(rng.randint(1, 3)):
        index, kind = rng.randrange(len(words)), rng.randrange(6)
        word = words[index]
        words[index] = (
            word + rng.choice([*".,!?;:)'\"", "'s", "...", "'d", "n't", "!!"]),
            rng.choice("(\"'`#$@[-") + word,
            word + rng.choice([*"-/&.,'_:", "--"]) + rng.choice(words),
            rng.choice((word.upper(), word.capitalize())),
            str(rng.randint(0, 3000)) + rng.choice(after_numbers),
            rng.choice(special),
        )[kind]
    return " ".join(words)


if __name__ == "__main__":
    main()
