"""What the operations of TensorFlow 2.20 do: compute only, or more."""

import functools
from pathlib import Path
from typing import Any

GRAPH_VERSION = 2288  # of TensorFlow 2.20, from which TensorFlow Serving 2.20 is built
_FILE = Path(__file__).with_name("operations.txt")
_COMPUTE = "compute"
_EFFECTS = {
    "files": "touches the server's files",
    "network": "uses the network",
    "python": "needs Python",
    "other": "is not known to compute only",
}
_LOGS = ("", "stderr", "stdout", "log(info)", "log(warning)", "log(error)")
# Operations that only compute unless an attribute names a file: attribute -> what it may be.
_HARMLESS = {
    "PrintV2": ("output_stream", lambda text: text in _LOGS),
    "FixedUnigramCandidateSampler": ("vocab_file", lambda text: not text),
    "DecodeProtoV2": ("descriptor_source", lambda text: text in ("", "local://") or text.startswith("bytes://")),
    "EncodeProto": ("descriptor_source", lambda text: text in ("", "local://") or text.startswith("bytes://")),
}
# The operations of tensorflow-text 2.20, which TensorFlow Serving 2.20 includes. All of them only compute.
TEXT_OPERATIONS = frozenset(
    """
    CaseFoldUTF8 ConstrainedSequence FastBertNormalize FastWordpieceTokenizeWithOffsets FindSourceOffsets
    MaxSpanningTree NormalizeUTF8 NormalizeUTF8WithOffsetsMap PhraseTokenize RegexSplitWithOffsets RougeL
    SentenceFragments SentenceFragmentsV2 SentencepieceDetokenizeOp SentencepieceIdToStringOp SentencepieceOp
    SentencepieceStringToIdOp SentencepieceTokenizeOp SentencepieceTokenizeWithOffsetsOp SentencepieceVocabSizeOp
    SplitMergeTokenizeWithOffsets TFText>BoiseTagsToOffsets TFText>ByteSplitByOffsets TFText>ByteSplitWithOffsets
    TFText>FastSentencepieceDetokenize TFText>FastSentencepieceTokenize TFText>FastWordpieceDetokenize
    TFText>NgramsStringJoin TFText>OffsetsToBoiseTags TFText>PhraseDetokenize TFText>RoundRobinGenerateMasks
    TFText>RoundRobinTrim TFText>Utf8Binarize TFText>WhitespaceTokenizeWithOffsetsV2 TokenizerFromLogits
    UnicodeScriptTokenizeWithOffsets WhitespaceTokenizeWithOffsets WordpieceTokenizeWithOffsets
    """.split()
)


def is_known(name: str) -> bool:
    """Whether TensorFlow Serving 2.20 has an operation of this name."""
    return name in _groups() or name in TEXT_OPERATIONS


def effect(node: Any) -> str | None:
    """What a node may do beside computing, e.g. `touches the server's files`; None if it only computes.

    Args:
        node: `NodeDef` of an operation, not of a function.
    """
    if node.op in TEXT_OPERATIONS:
        return None
    group = _groups().get(node.op, "other")
    if group != _COMPUTE:
        return _EFFECTS[group]
    if node.op in _HARMLESS:
        name, is_harmless = _HARMLESS[node.op]
        text = node.attr[name].s.decode("utf-8", "replace") if name in node.attr else ""
        return None if is_harmless(text) else f"{_EFFECTS['files']}: `{name}` is {text!r}"
    return None


@functools.cache
def _groups() -> dict[str, str]:
    groups, group = {}, ""
    for line in _FILE.read_text(encoding="ascii").splitlines():
        if line.startswith("["):
            group = line.strip("[]")
        elif not line.startswith("#"):
            groups.update(dict.fromkeys(line.split(), group))
    return groups
