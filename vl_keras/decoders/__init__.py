"""Caption decoders by their configured name."""

from vl_keras.decoders.lstm_decoder import LstmDecoder
from vl_keras.decoders.transformer_decoder import TransformerDecoder

DECODERS = {"lstm": LstmDecoder, "transformer": TransformerDecoder}
