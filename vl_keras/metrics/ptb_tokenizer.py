"""Penn Treebank tokens as pycocoevalcap counts them, without Java.

pycocoevalcap runs Stanford's `PTBTokenizer` (CoreNLP 3.4.1, `-preserveLines -lowerCase`) and drops its list of
punctuation. The rules below were written from the Penn Treebank conventions and from that tokenizer's answers to test
strings; `benchmarks/ptb_parity.py` compares the two. As there, the longest rule that matches at a position wins.
"""

import functools
import re
import unicodedata

# Spelled as pycocoevalcap spells it: brackets come out of `-lowerCase` as "-lrb-", so they stay, and all published
# figures have been scored that way.
PUNCTUATION = frozenset(
    ("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";")
)

_NBSP = "\u00a0"  # joins the parts of one token that was written with a space, "2 1/2"
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


def ptb_tokenize(captions):
    """Tokenizes captions as pycocoevalcap's `PTBTokenizer` does.

    Args:
        captions: list of `str`, in the case they were written in.

    Returns:
        A list of `str`: the tokens of each caption joined by spaces, lower case, without punctuation.
    """
    return [_tokenize(caption) for caption in captions]


@functools.lru_cache(maxsize=200_000)
def _tokenize(caption):
    tokens = [token for token in _split(caption) if token not in PUNCTUATION]
    return " ".join(tokens)


def _split(text):
    text = text.replace("\u00ad", "")  # a soft hyphen is no character of the word
    tokens, position = [], 0
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
            # Text that a rule only looks ahead at (its group "ahead") counts for its length, as in the original.
            if match and match.end() - position > longest:
                best, longest = match, match.end() - position
        if best is None:  # a character no rule knows disappears
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


def _spell(token):
    if token in _SPELLED_OUT:
        return [_SPELLED_OUT[token]] if _SPELLED_OUT[token] else []
    token = token.translate(_INSIDE_TOKENS).replace("&amp;", "&").replace("&apos;", "'").lower()
    if re.fullmatch(f"[.{_NBSP}]{{2,}}", token):
        return ["..."]
    return ["--"] if re.fullmatch("-{2,}", token) else [token] if token else []


@functools.lru_cache(maxsize=1)
def _letters():
    """Character class of what a word is made of: letters, marks, digits of other scripts, Unicode's own hyphens."""
    kinds, ranges = ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd"), []
    for code in range(0x41, 0x10000):
        kind = unicodedata.category(chr(code))
        if kind in kinds or (kind == "Mn" and code < 0x1000) or code in (0x2010, 0x2011):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in ranges)


@functools.lru_cache(maxsize=1)
def _simple_words():
    """The common case, quickly: ASCII words between spaces, which every rule would leave as they are."""
    return re.compile(rf"(?:(?!(?i:{_or(_SPLIT_IN_TWO.replace('-', ''))})(?![^ ]))[A-Za-z]+(?:[ ]+|$)|[ ]+)+")


@functools.lru_cache(maxsize=1)
def _rules():
    """The rules, compiled; of equally long matches the first wins."""
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
        # Contractions: the word, with the ending looked at and left for the next token.
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


def _or(words):
    return "|".join(words.split())


def _symbols():
    """Class of the marks and symbols beyond ASCII that are tokens of their own."""
    kinds, marks = "PSN", []
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
