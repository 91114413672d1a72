"""Penn Treebank tokens as pycocoevalcap counts them, without Java.

pycocoevalcap runs Stanford's `PTBTokenizer` (CoreNLP 3.4.1, `-preserveLines -lowerCase`) and removes punctuation from
its output. The rules below follow the Penn Treebank conventions and that tokenizer's output for test strings;
`benchmarks/ptb_parity.py` compares the two. As in the original, the rule with the longest match at a position wins.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence

# pycocoevalcap's list. The tokenizer outputs brackets in lower case, "-lrb-", so they are not removed; all published
# scores were computed that way.
PUNCTUATION = frozenset(
    ("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";")
)

_NBSP = "\u00a0"  # joins the parts of a token that contains a space, e.g. "2 1/2"
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_SPELLED_OUT = {
    **_BRACKETS,
    **dict.fromkeys("“«\x93", "``"),
    **dict.fromkeys('”»\x94"', "''"),
    **dict.fromkeys("‘‛‹\x91", "`"),
    **dict.fromkeys("’›\x92", "'"),
    **dict.fromkeys("–—―\x96\x97", "--"),
    **dict.fromkeys("€¤₠\x80", "$"),
    **{"£": "#", "¢": "cents", "…": "...", "¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"},
    **{"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": "''", "&apos;": "'", "&mdash;": "--", "&nbsp;": ""},
}
_INSIDE_TOKENS = str.maketrans({"’": "'", "\x92": "'", " ": _NBSP, "\t": _NBSP, "(": "-lrb-", ")": "-rrb-"})
_SPLIT_IN_TWO = "can-not gon-na got-ta lem-me gim-me wan-na"

# Abbreviations that keep their full stop; the second list only with a capital, the third only before a number.
_ABBREVIATIONS = """
adj adm adv al ala alex apr ariz assn asst atty aug ave bhd bldg blvd brig bros capt cf cie cmdr co col colo conn corp
cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri ft ga gen gov govs hon inc ind insp intl invt
jan jos jr jul jun kan kans ky lt ltd maj mar md mfg mich minn mlle mme mo mon mont mr mrs ms msgr mt mtg natl neb nev
nov oct okla penn pfc ph plc ppte ppty pres prof pte ptes pty ptys pvt rd rep reps rev rt sen sens sep sept seq sfc sgt
spc sq sr st ste supt sys tel tenn thu tue tues univ va vs vt wed wis wisc wm wyo
"""
_CAPITAL_ABBREVIATIONS = "ark az del ill la mass miss ore pa tex wash"
_NUMBER_ABBREVIATIONS = "art ca fig figs no nos op pp prop"


def ptb_tokenize(captions: Sequence[str]) -> list[str]:
    """Tokenizes captions as pycocoevalcap's `PTBTokenizer` does.

    Args:
        captions: captions in their original case.

    Returns:
        The tokens of each caption joined by spaces, in lower case, without punctuation.
    """
    return [_tokenize(caption) for caption in captions]


@functools.lru_cache(maxsize=200_000)
def _tokenize(caption: str) -> str:
    tokens = [token for token in _split(caption) if token not in PUNCTUATION]
    return " ".join(tokens)


def _split(text: str) -> list[str]:
    text = text.replace("\u00ad", "")  # a soft hyphen is not part of the word
    tokens: list[str] = []
    position = 0
    simple, rules = _simple_words(), _rules()
    while position < len(text):
        plain = simple.match(text, position)
        if plain:
            tokens.extend(plain[0].lower().split())
            position = plain.end()
            continue
        best, longest = None, 0
        for rule in rules:
            match = rule.match(text, position)
            # A rule's lookahead (its group "ahead") counts towards the length of its match, as in the original.
            if match and match.end() - position > longest:
                best, longest = match, match.end() - position
        if best is None:  # no rule matches this character: it is dropped
            position += 1
            continue
        groups = best.groupdict()
        if groups.get("first"):
            tokens.extend((groups["first"].lower(), best[0][len(groups["first"]) :].lower()))
            position = best.end()
        else:
            end = best.start("ahead") if groups.get("ahead") else best.end()
            tokens.extend(_spell(text[position:end]))
            position = end
    return tokens


def _spell(token: str) -> list[str]:
    if token in _SPELLED_OUT:
        return [_SPELLED_OUT[token]] if _SPELLED_OUT[token] else []
    token = token.translate(_INSIDE_TOKENS).replace("&amp;", "&").replace("&apos;", "'").lower()
    if re.fullmatch(f"[.{_NBSP}]{{2,}}", token):
        return ["..."]
    return ["--"] if re.fullmatch("-{2,}", token) else [token] if token else []


@functools.lru_cache(maxsize=1)
def _letters() -> str:
    """Character class of the characters of a word: letters, marks, digits of other scripts, Unicode's own hyphens."""
    kinds = ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd")
    ranges: list[list[int]] = []
    for code in range(0x41, 0x10000):
        kind = unicodedata.category(chr(code))
        if kind in kinds or (kind == "Mn" and code < 0x1000) or code in (0x2010, 0x2011):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in ranges)


@functools.lru_cache(maxsize=1)
def _simple_words() -> re.Pattern[str]:
    """The common case, for speed: ASCII words between spaces, which no rule would change."""
    return re.compile(rf"(?:(?!(?i:{_or(_SPLIT_IN_TWO.replace('-', ''))})(?![^ ]))[A-Za-z]+(?:[ ]+|$)|[ ]+)+")


@functools.lru_cache(maxsize=1)
def _rules() -> list[re.Pattern[str]]:
    """The compiled rules; of equally long matches, the first wins."""
    letter, alnum = f"[{_letters()}]", f"[{_letters()}0-9]"
    apostrophe = "(?:['’`‘\u0092]|&apos;)"
    word = f"{letter}{alnum}*(?:[.!?]{letter}{alnum}*)*"
    ending = f"{apostrophe}(?:[msdMSD]|[rR][eE]|[vV][eE]|[lL][lL])(?!{alnum})"
    elided = f"[dDlLoO]{apostrophe}"  # d'Or, l'eau, O'Neill
    host = r"[^\s\"`'<>|(){},.!?@/:;\-_%$#&*+=~^\\\[\]]"
    url_end = r"[^\s\"<>|(){}.,!?;:'\-]"
    abbreviations = "|".join(
        [f"(?i:{_or(_ABBREVIATIONS)})", *(f"{w[0].upper()}(?i:{w[1:]})" for w in _CAPITAL_ABBREVIATIONS.split())]
    )
    apostrophe_words = "c'est c'mon e'er ev'ry li'l ma'am nat'l ne'er nor'easter s'mores"
    split = "|".join(f"{first}(?={second})" for first, second in (w.split("-") for w in _SPLIT_IN_TWO.split()))
    rules = [
        rf"(?i:(?P<first>{split})[a-z]+)(?!{alnum})",
        f"(?P<first>{apostrophe}[tT])(?i:is|was)(?=n't|(?!{alnum}))",
        # Contractions: the word; the ending is only matched ahead, and becomes the next token.
        f"{word}(?P<ahead>{ending})",
        f"[A-Za-z]*[A-MO-Za-mo-z](?P<ahead>[nN]{apostrophe}[tT])",
        f"[nN]{apostrophe}[tT]",
        ending,
        f"{apostrophe}(?i:em|(?:till?|cause)(?!{alnum}))",
        # Words with an apostrophe of their own.
        f"{apostrophe}[nN]{apostrophe}|{apostrophe}[nN](?!{alnum})",
        f"[dDlLj]{apostrophe}|[yY]{apostrophe}(?={alnum})|(?i:ol|somethin|dunkin){apostrophe}",
        f"[A-HJ-XZndlo]{apostrophe}{letter}{{2}}{alnum}*",
        f"(?i:{_or(apostrophe_words)})(?!{alnum})".replace("'", apostrophe),
        rf"(?i:cont{apostrophe}d\.)",
        f"{letter}+[aeiouyAEIOUY]{apostrophe}[aeiouA-Z]{letter}*",
        r"['’‘\x92](?:\d\d(?=\s|$)|[1-9]0[sS])",
        # Words, and words joined by hyphens, underscores, slashes, capitals with & and +.
        word,
        f"{alnum}+",
        f"(?:{elided})?{alnum}+(?:[-_]{alnum}+)+",
        rf"(?:{elided})?{alnum}(?:{alnum}|[.,])*(?:-(?:{elided}(?={alnum}{{2}}))?(?:[A-Za-z](?:\.[A-Za-z])+\.|{alnum}+))+",
        r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2})+",
        r"[A-Z]+(?:(?:[&+]|&amp;)[A-Z]+)+",
        r"[cC]\+\+|[cCfF]#",
        # Abbreviations and initials with their full stops.
        rf"(?:{abbreviations})\.",
        rf"(?i:{_or(_NUMBER_ABBREVIATIONS)})\.(?=\s*\d)",
        r"[A-Za-z](?:\.[A-Za-z])*\.|(?i:ph\.d\.)",
        rf"(?:{word}|{alnum}+)\.(?=[,;:])",
        # Numbers, fractions, telephone numbers, money.
        r"[-+]?\d*(?:[.,:]\d+)+|[-+]?\d+",
        r"(?:\d{1,4}[- \u00a0])?\d{1,4}/\d{1,4}",
        r"\(\d{2,3}\)[ \u00a0]?\d{3,4}[- \u00a0]?\d{4}|\d{2,4}[ \u00a0]\d{3,4}[ \u00a0]\d{3,5}",
        r"[A-Z]+\$",
        # Addresses, names and tags of the network, markup.
        rf"(?i:https?)://{host}+(?:[.\-]{host}+)+(?:/[^\s\"<>|()]*{url_end})?/?",
        rf"(?:www\.)?(?:{host}+\.)+(?:com|net|org|edu)/[^\s\"<>|()]+{url_end}",
        r"<?[A-Za-z0-9][^\s\"<>|(){}]*@(?:[^\s\"<>|(){}.]+\.)*[^\s\"<>|(){}.]+>?",
        rf"@[A-Za-z_][A-Za-z_0-9]*|#{letter}+",
        r"</?[A-Za-z][A-Za-z0-9]*(?:\s+[A-Za-z]+=(?:\"[^\"<>]*\"|'[^'<>]*'))*\s*/?>|<![^<>]*>",
        r"&(?:amp|lt|gt|quot|apos|mdash|nbsp|#\d+);",
        # Smileys.
        rf"[<>]?[:;=][-o*']?[()DPdpO\\{{@|\[\]](?!{alnum})",
        r"[-^x=~<>'oOtT]_[-^x=~<>'oOtT]|\([-^x=~<>'][_.]?[-^x=~<>']\)",
        # Runs of the same mark; then any mark alone.
        r"\.\.\.|\.[ \u00a0]\.(?:[ \u00a0]\.)+|-{2,}|``|''|[?!]{2,}|\*+|#+|@+|_+|<<|>>",
        r"[!-/:-@\[-`{-~]",
        _symbols(),
    ]
    return [re.compile(rule) for rule in rules]


def _or(words: str) -> str:
    return "|".join(words.split())


def _symbols() -> str:
    """Character class of the marks and symbols beyond ASCII that are tokens of their own."""
    kinds = "PSN"
    marks: list[str] = []
    for first, last in ((0x80, 0xBF), (0xD7, 0xD7), (0xF7, 0xF7), (0x2010, 0x2044), (0x2070, 0x2BFF), (0xFF01, 0xFFE6)):
        for code in range(first, last + 1):
            if unicodedata.category(chr(code))[0] in kinds and unicodedata.category(chr(code)) not in ("Nl", "Nd"):
                marks.append(f"\\u{code:04x}")
    dropped = {
        f"\\u{code:04x}"
        for code in (0x2012, 0x2024, 0x2025, 0x2027, 0x203C, 0x203D, 0x2043, 0x2150, 0x2151, 0x2152, 0x215F)
    }
    dropped |= {f"\\u{code:04x}" for code in range(0x20A1, 0x20C1) if code not in (0x20A4, 0x20AC)}
    extra = [f"\\u{code:04x}" for code in (0x80, 0x91, 0x92, 0x93, 0x94, 0x96, 0x97, 0x3001, 0x3002, 0x30FB)]
    return f"[{''.join(mark for mark in marks + extra if mark not in dropped)}]"
