"""Caption decoders by their configured name."""

from collections.abc import Callable

from vl_keras.decoders.decoder import Decoder
from vl_keras.decoders.lstm_decoder import LstmDecoder
from vl_keras.decoders.transformer_decoder import TransformerDecoder

DECODERS: dict[str, Callable[..., Decoder]] = {"lstm": LstmDecoder, "transformer": TransformerDecoder}
