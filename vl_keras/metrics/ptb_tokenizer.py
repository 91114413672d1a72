"""Penn Treebank tokens as pycocoevalcap counts them, without Java.

pycocoevalcap runs Stanford's `PTBTokenizer` (CoreNLP 3.4.1, `-preserveLines -lowerCase`) and removes punctuation from
its output. The rules below follow the Penn Treebank conventions and that tokenizer's output for test strings;
`benchmarks/ptb_parity.py` compares the two. As in the original, the rule with the longest match at a position wins.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence

from vl_keras.metrics.ptb_characters import JOINERS, LETTERS, MARKS, character_class

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
_INSIDE_TOKENS = str.maketrans({" ": _NBSP, "\t": _NBSP, "(": "-lrb-", ")": "-rrb-"})
_ENDING = re.compile("(?P<n>n?)(?P<mark>['’`‘\x91\x92]|&apos;)(?P<letters>[msdt]|re|ve|ll)")
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


def is_dropped(character: str) -> bool:
    """Whether the tokenizer drops a character and ends the word before it, as pycocoevalcap's does."""
    return ptb_tokenize([f"x{character}x"]) == ["x x"] and character not in PUNCTUATION


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
    token = token.translate(_INSIDE_TOKENS).replace("&amp;", "&").lower()
    if ending := _ENDING.fullmatch(token):  # a contraction's apostrophe is normalised; one inside a word is not
        return [f"{ending['n']}{_SPELLED_OUT.get(ending['mark'], ending['mark'])}{ending['letters']}"]
    if re.fullmatch(f"[.{_NBSP}]{{2,}}", token):
        return ["..."]
    return ["--"] if re.fullmatch("-{2,}", token) else [token] if token else []


@functools.lru_cache(maxsize=1)
def _simple_words() -> re.Pattern[str]:
    """The common case, for speed: ASCII words between spaces, which no rule would change."""
    return re.compile(rf"(?:(?!(?i:{_or(_SPLIT_IN_TWO.replace('-', ''))})(?![^ ]))[A-Za-z]+(?:[ ]+|$)|[ ]+)+")


@functools.lru_cache(maxsize=1)
def _rules() -> list[re.Pattern[str]]:
    """The compiled rules; of equally long matches, the first wins.

    Where a rule looks for a mark far ahead, a limit keeps the cost of a text in proportion to its length.
    """
    hyphen, digit, alnum = f"[-_{character_class(JOINERS)}]", f"[0-9{_of_kinds('Nd')}]", f"[A-Za-z0-9{_of_kinds('')}]"
    letter, unmarked = (
        f"[A-Za-z{_of_kinds('L', 'M', 'S', 'P', 'C')}]",
        f"[A-Za-z0-9{_of_kinds('L', 'N', 'S', 'P', 'C')}]",
    )
    marks = character_class(MARKS) + "".join(mark for mark in _SPELLED_OUT if len(mark) == 1 and not mark.isascii())
    apostrophe = "(?:['’`‘\u0092]|&apos;)"
    word = f"{letter}{alnum}*(?:[.!?]{letter}{alnum}*)*"
    ending = "(?:[msdMSD]|[rR][eE]|[vV][eE]|[lL][lL])"
    ending = f"(?:['`‘]{ending}(?!{alnum})|(?:[’\u0092]|&apos;){ending})"
    elided = f"[dDlLoO]{apostrophe}"  # d'Or, l'eau, O'Neill
    host = r"[^\s\"`'<>|(){},.!?@/:;\-_%$#&*+=~^\\\[\]]"
    url_end = r"[^\s\"<>|(){}.,!?;:'\-]"
    abbreviations = "|".join(
        [f"(?i:{_or(_ABBREVIATIONS)})", *(f"{w[0].upper()}(?i:{w[1:]})" for w in _CAPITAL_ABBREVIATIONS.split())]
    )
    apostrophe_words = "c'est c'mon e'er ev'ry li'l ma'am ne'er nor'easter s'mores"
    split = "|".join(f"{first}(?={second})" for first, second in (w.split("-") for w in _SPLIT_IN_TWO.split()))
    rules = [
        rf"(?i:(?P<first>{split})[a-z]+)(?!{alnum})",
        f"(?P<first>'[tT])(?i:is|was)(?=n't|(?!{alnum}))",
        # Contractions: the word; the ending is only matched ahead, and becomes the next token.
        f"{word}(?P<ahead>{ending})",
        f"[A-Za-z]*[A-MO-Za-mo-z](?P<ahead>[nN]{apostrophe}[tT])",
        f"[nN]{apostrophe}[tT]",
        ending,
        f"{apostrophe}(?i:em)|'(?i:till?|cause)(?!{alnum})|(?:[’\u0092]|&apos;)(?i:till?|cause)",
        # Words with an apostrophe of their own.
        f"{apostrophe}[nN]{apostrophe}|{apostrophe}[nN](?!{alnum})",
        f"[dDlLj]{apostrophe}|[yY]{apostrophe}(?={alnum})|(?i:ol|somethin|dunkin){apostrophe}",
        f"[A-HJ-XZndlo]{apostrophe}{letter}{{2}}{alnum}*",
        f"(?i:{_or(apostrophe_words)})(?!{alnum})".replace("'", apostrophe),
        r"(?i:nat'l(?![A-Za-z0-9])|cont'd\.)",
        f"{letter}+[aeiouyAEIOUY]{apostrophe}[aeiouA-Z]{letter}*",
        r"['’‘\x92](?:[0-9][0-9](?=\s|$)|[1-9]0[sS])",
        # Words, and words joined by hyphens, underscores, slashes, capitals with & and +.
        word,
        f"{unmarked}+",
        f"(?:{elided})?{unmarked}+(?:{hyphen}{unmarked}+)+",
        rf"(?:{elided})?[A-Za-z0-9][A-Za-z0-9.,]{{0,300}}(?:-(?:{elided}(?=[A-Za-z0-9]{{2}}))?(?:[A-Za-z](?:\.[A-Za-z])+\.|[A-Za-z0-9]+))+",
        r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2})+",
        r"[A-Z]+(?:(?:[&+]|&amp;)[A-Z]+)+",
        r"[cC]\+\+|[cCfF]#",
        # Abbreviations and initials with their full stops.
        rf"(?:{abbreviations})\.",
        rf"(?i:{_or(_NUMBER_ABBREVIATIONS)})\.(?=\s*[0-9])",
        r"[A-Za-z](?:\.[A-Za-z])*\.|(?i:ph\.d\.)",
        rf"(?:{word}|{alnum}+)\.(?=[,;:])",
        # Numbers, fractions, telephone numbers, money.
        rf"[-+]?{digit}*(?:[.,:]{digit}+)+|[-+]?{digit}+",
        rf"(?:{digit}{{1,4}}[- \u00a0])?{digit}{{1,4}}/{digit}{{1,4}}",
        r"\([0-9]{2,3}\)[ \u00a0]?[0-9]{3,4}[- \u00a0]?[0-9]{4}|[0-9]{2,4}[ \u00a0][0-9]{3,4}[ \u00a0][0-9]{3,5}",
        r"[A-Z]+\$",
        # Addresses, names and tags of the network, markup.
        rf"(?i:https?)://{host}+(?:[.\-]{host}+)+(?:/[^\s\"<>|()]*{url_end})?/?",
        rf"(?:www\.)?(?:{host}{{1,300}}\.){{1,20}}(?:com|net|org|edu)/[^\s\"<>|()]+{url_end}",
        r"<?[A-Za-z0-9][^\s\"<>|(){}]{0,300}@(?:[^\s\"<>|(){}.]+\.)*[^\s\"<>|(){}.]+>?",
        rf"@[A-Za-z_][A-Za-z_0-9]*|#{letter}+",
        r"</?[A-Za-z][A-Za-z0-9]*(?:\s+[A-Za-z]+=(?:\"[^\"<>]*\"|'[^'<>]*'))*\s*/?>|<![^<>]*>",
        r"&(?:amp|lt|gt|quot|apos|mdash|nbsp|#[0-9]+);",
        # Smileys.
        rf"[<>]?[:;=][-o*']?[()DPdpO\\{{@|\[\]](?!{alnum})",
        r"[-^x=~<>'oOtT]_[-^x=~<>'oOtT]|\([-^x=~<>'][_.]?[-^x=~<>']\)",
        # Runs of the same mark; then any mark alone.
        r"\.\.\.|\.[ \u00a0]\.(?:[ \u00a0]\.)+|-{2,}|``|''|[?!]{2,}|\*+|#+|@+|_+|<<|>>",
        r"[!-/:-@\[-`{-~]",
        f"[{marks}]",
    ]
    return [re.compile(rule) for rule in rules]


def _or(words: str) -> str:
    return "|".join(words.split())


def _of_kinds(*kinds: str) -> str:
    """The `LETTERS` whose Unicode category begins with one of `kinds`, as the inside of a character class."""
    ends = (part.partition("-") for part in LETTERS.split())
    codes = (code for first, _, last in ends for code in range(int(first, 16), int(last or first, 16) + 1))
    own = [code for code in codes if unicodedata.category(chr(code)).startswith(kinds)]
    firsts = [code for code, before in zip(own, [-1, *own], strict=False) if before != code - 1]
    lasts = [code for code, after in zip(own, [*own[1:], -1], strict=True) if after != code + 1]
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in zip(firsts, lasts, strict=True))
