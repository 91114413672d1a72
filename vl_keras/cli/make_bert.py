"""`vl-keras make-bert`: makes TensorFlow Hub modules from a BERT checkpoint."""

import argparse

from vl_keras.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "make-bert",
        run,
        "make TensorFlow Hub modules from a BERT checkpoint",
        "Turns a checkpoint folder (config.json, vocab.txt, model.safetensors in Hugging Face's names), a keras-nlp "
        "preset folder, or a config.json alone (random weights) into an encoder and a preprocessing module.",
        "vl-keras make-bert --from all-MiniLM-L6-v2 --out modules/minilm",
    )
    command.add_argument("--from", dest="source", metavar="DIR", required=True, help="the checkpoint's folder")
    command.add_argument("--out", metavar="DIR", required=True, help="a new folder for the two modules")
    command.add_argument(
        "--case",
        choices=("auto", "lower", "keep"),
        default="auto",
        help="letter case of texts (auto: the checkpoint's)",
    )


def run(options: argparse.Namespace) -> None:
    """Makes the modules."""
    from vl_keras.encoders.bert_module import make_bert

    made = make_bert(
        options.source, options.out, lower_case=None if options.case == "auto" else options.case == "lower"
    )
    print(
        f"{made['parameters']:,} parameters ({made['weights']}), {made['vocabulary']:,} tokens\n"
        f"text_encoder.encoder:      {made['encoder']}\ntext_encoder.preprocessor: {made['preprocessor']}"
    )
