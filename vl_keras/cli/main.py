"""The `vl-keras` command: parses its line, calls one function, prints what came of it."""

import argparse
import sys
from pathlib import Path

import vl_keras
from vl_keras.cli.errors import run_command

_OVERRIDE_HELP = "settings that win over the file's, e.g. training.epochs=5 data.batch_size=16"
_RUN_OVERRIDE_HELP = (
    "data.…, generation.…, retrieval.rerank_… and retrieval.querybank settings that win over the run's, "
    "e.g. generation.beam_size=5"
)


def main(arguments=None):
    """Runs one command; returns the exit status: 0, 1 where no image could be read, 2 for what the user can mend."""
    options = _parser().parse_args(arguments)
    return run_command("vl-keras", lambda: options.command(options))


def _utf8(text):
    """An argument's type: a text that the model can read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the text is not UTF-8") from None
    return text


def _train(options):
    from vl_keras.config import load_config

    config = load_config(options.config, options.overrides)  # a slip in it shows before TensorFlow is loaded

    from vl_keras.training.train import train

    run_dir = options.run_dir or Path("runs") / Path(options.config).stem
    train(config, run_dir, resume=options.resume, init_from=options.init_from)
    print(f"run: {run_dir}")


def _evaluate(options):
    from vl_keras.inference.evaluate import evaluate, format_evaluation

    result = evaluate(options.run, options.split, options.overrides, options.weights, options.java)
    print(format_evaluation(result))


def _predict(options):
    from vl_keras.inference.predict import format_failures, predict
    from vl_keras.inference.prediction import OK

    def report(prediction):
        if prediction.status == OK:
            print(f"{prediction.path}\t{prediction.line}", flush=True)

    predictions = predict(
        options.run,
        options.image,
        inputs={
            "context": [options.context] if options.context else [],
            "question": options.question,
            "text": options.text,
        },
        explain=options.explain,
        out=options.out,
        overrides=options.overrides,
        weights=options.weights,
        report=report,
    )
    for prediction in predictions:
        if prediction.explanation is not None:
            print(f"explanation: {prediction.explanation}", file=sys.stderr)
    failures = format_failures(predictions)
    if failures:
        print(failures, file=sys.stderr)
    return int(not any(prediction.status == OK for prediction in predictions))


def _ensemble(options):
    from vl_keras.training.ensemble import ensemble

    result = ensemble(options.runs, options.run_dir, options.overrides, options.weights)
    for member in result["members"]:
        print(f"{member['run']}: {member['weights']}")
    print(f"run: {options.run_dir}: {result['best']['which']}")


def _make_memory(options):
    from vl_keras.search.make_memory import make_memory

    memory = make_memory(options.run, options.out, options.overrides, options.weights)
    print(f"{options.out}: {len(memory.captions):,} captions of {len(set(memory.image_ids)):,} images")


def _extract(options):
    from vl_keras.config import load_config
    from vl_keras.training.extract import extract

    for split, cache in extract(load_config(options.config, options.overrides), options.split).items():
        images, views = cache.flipped.shape
        regions, width = cache.token_shape
        print(f"{split}: {images} images, {views} views, {regions} tokens of width {width}, in {cache.folder}")


def _inspect(options):
    from vl_keras.config import load_config
    from vl_keras.training.inspect_data import format_report, inspect_data

    config = load_config(options.config, options.overrides)
    print(format_report(inspect_data(config, options.out or Path("inspect") / Path(options.config).stem)), end="")


def _index(options):
    from vl_keras.search.index_images import format_indexing, format_troubles, index_images

    indexing = index_images(
        options.run,
        options.images,
        options.out,
        delete=options.delete,
        delete_missing=options.delete_missing,
        overrides=options.overrides,
        weights=options.weights,
    )
    troubles = format_troubles(indexing)
    if troubles:
        print(troubles, file=sys.stderr)
    print(format_indexing(options.out, indexing))
    return int(bool(indexing.failed) and not (indexing.added or indexing.changed or indexing.unchanged))


def _search(options):
    from vl_keras.search.search_images import format_results, search_images

    results = search_images(
        options.index,
        text=options.text,
        image=options.image,
        top=options.top,
        sheet=options.sheet,
        run_dir=options.run,
        report=lambda note: print(f"note: {note}", file=sys.stderr),
    )
    if results:
        print(format_results(results))
    if options.sheet:
        print(f"contact sheet: {options.sheet}", file=sys.stderr)


def _make_bert(options):
    from vl_keras.encoders.bert_module import make_bert

    made = make_bert(
        options.source, options.out, lower_case=None if options.case == "auto" else options.case == "lower"
    )
    print(
        f"{made['parameters']:,} parameters ({made['weights']}), {made['vocabulary']:,} tokens\n"
        f"text_encoder.encoder:      {made['encoder']}\ntext_encoder.preprocessor: {made['preprocessor']}"
    )


def _parser():
    parser = argparse.ArgumentParser(
        prog="vl-keras",
        description="Models that read images and text together: train, measure, look, use.",
        epilog="`vl-keras COMMAND --help` shows a command's arguments and an example.",
    )
    parser.add_argument("--version", action="version", version=f"vl-keras {vl_keras.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    train = _command(
        commands,
        "train",
        _train,
        "train an experiment into a run directory",
        "Trains the experiment that a YAML file describes. The run directory gets the resolved settings, the "
        "vocabulary, checkpoints, the best weights and curves for TensorBoard. Ctrl-C and SIGTERM save and stop; "
        "--resume goes on.",
        "vl-keras train configs/captioning/shapes.yaml --set training.epochs=3 --run-dir runs/first",
    )
    _config_arguments(train)
    train.add_argument("--run-dir", metavar="DIR", help="where everything goes (default: runs/NAME-OF-CONFIG)")
    train.add_argument("--resume", action="store_true", help="go on with the stopped run in the run directory")
    train.add_argument(
        "--init-from", metavar="RUN", help="start from the weights and the vocabulary (extended) of a trained run"
    )

    evaluate = _command(
        commands,
        "evaluate",
        _evaluate,
        "score a trained run on a split",
        "Prints the measures of the run's task on a split with 95% intervals: BLEU, ROUGE-L and CIDEr-D of captions, "
        "accuracy and calibration of answers, balanced accuracy and ROC-AUC of matching, recall of retrieval. "
        "RUN/evaluation/ gets them (SPLIT.json), what was said of every example (SPLIT_captions.json, the other tasks' "
        "SPLIT_answers.jsonl, SPLIT_pairs.jsonl, SPLIT_ranks.jsonl) and a contact sheet (SPLIT.png), in place of those "
        "of an earlier evaluation, whose scores stay in history.jsonl.",
        "vl-keras evaluate runs/flickr8k --split test --set data.manual_dir=~/flickr8k generation.beam_size=5",
    )
    evaluate.add_argument("--split", default="dev", help="split of the data (default: dev)")
    evaluate.add_argument("--java", action="store_true", help="captions: also METEOR and SPICE, which need Java")
    _run_arguments(evaluate)

    predict = _command(
        commands,
        "predict",
        _predict,
        "caption images, answer questions about them, match them with texts",
        "Prints a line for each image: its path, a tab, its caption; of a vqa run a line for each question: path, "
        "question, answer with its confidence; of a matching run one for each text: path, text, match or no match with "
        "its probability. An image that cannot be read is listed at the end and stops nothing. Exit status 1: none "
        "could be read.",
        "vl-keras predict runs/flickr8k --image holiday/ dog.jpg --out captions.jsonl\n"
        "  vl-keras predict runs/flickr8k --image dog.jpg --explain dog.png\n"
        '  vl-keras predict runs/easy_vqa --image shapes/ --question "what shape is it?" --question "is it red?"\n'
        '  vl-keras predict runs/matching --image holiday/ --text "a dog in the snow"',
    )
    predict.add_argument(
        "--image", metavar="PATH", nargs="+", action="extend", required=True, help="files, or folders of images"
    )
    predict.add_argument(
        "--context",
        metavar="TEXT",
        type=_utf8,
        default="",
        help="captioning: text shown to the model beside every image",
    )
    predict.add_argument(
        "--question",
        type=_utf8,
        action="append",
        default=[],
        help="vqa: asked of every image; may be given several times",
    )
    predict.add_argument(
        "--text",
        type=_utf8,
        action="append",
        default=[],
        help="matching: compared with every image; may be given several times",
    )
    predict.add_argument(
        "--explain",
        metavar="OUT.png",
        help="draw where the model looked for each word (several images: OUT-NAME.png, several texts: OUT-1.png)",
    )
    predict.add_argument("--out", metavar="FILE", help="also write JSON lines, with other candidates and their scores")
    _run_arguments(predict)

    ensemble = _command(
        commands,
        "ensemble",
        _ensemble,
        "join trained captioners into a better one",
        "Joins captioning runs that were trained with different seeds into one run that writes each word by the mean "
        "of their logits, and measures it on the development split. They need one vocabulary, one kind of "
        "decoder and the same frozen encoders. The new run is evaluated, used and exported like any other; a word "
        "costs it what it costs all its members together.",
        "vl-keras train configs/captioning/flickr8k_transformer.yaml --set training.seed=1 --run-dir runs/one\n"
        "  vl-keras train configs/captioning/flickr8k_transformer.yaml --set training.seed=2 --run-dir runs/two\n"
        "  vl-keras ensemble runs/one runs/two --run-dir runs/both",
    )
    ensemble.add_argument("runs", metavar="RUN", nargs="+", help="run directories that `vl-keras train` made")
    ensemble.add_argument("--run-dir", metavar="DIR", required=True, help="where the new run goes")
    _use_arguments(ensemble)

    memory = _command(
        commands,
        "make-memory",
        _make_memory,
        "keep people's captions for captioners to agree with",
        "Writes the training captions of a retrieval run and where they lie in its space into a folder. A captioning "
        "run with the same frozen image encoder that is evaluated, used or exported with generation.memory=FOLDER then "
        "ranks the captions it finds by how well they agree with those that its image recalls.",
        "vl-keras make-memory runs/retrieval --out data/memory\n"
        "  vl-keras evaluate runs/captioner --set generation.memory=data/memory generation.beam_size=5",
    )
    memory.add_argument("run", metavar="RUN", help="retrieval run directory that `vl-keras train` made")
    memory.add_argument("--out", metavar="DIR", required=True, help="where the memory goes; must be absent")
    _use_arguments(memory)

    extract = _command(
        commands,
        "extract",
        _extract,
        "write the feature cache of a frozen image encoder",
        "Encodes each image once, so that training reads tokens at memory speed. A stopped run goes on where it was. "
        "Training with image_encoder.cache_features does the same by itself.",
        "vl-keras extract configs/captioning/flickr8k_transformer.yaml --split train dev",
    )
    _config_arguments(extract)
    extract.add_argument("--split", nargs="+", help="splits (default: those that training reads)")

    data = commands.add_parser("data", help="look at data", description="Looks at the data of an experiment.")
    inspect = _command(
        data.add_subparsers(title="commands", metavar="COMMAND", required=True),
        "inspect",
        _inspect,
        "counts, captions, images, leaks, unreadable files",
        "Reads every example once and reports counts, caption statistics, images that two splits share and files "
        "that cannot be read, with a contact sheet of each split.",
        "vl-keras data inspect configs/captioning/shapes.yaml --out inspect/shapes",
    )
    _config_arguments(inspect)
    inspect.add_argument("--out", metavar="DIR", help="where the report goes (default: inspect/NAME-OF-CONFIG)")

    index = _command(
        commands,
        "index",
        _index,
        "make images searchable",
        "Embeds images with a retrieval run into an index folder. Run it again to bring the index up to date: new "
        "images and those whose file has another size or time are embedded, the others are left alone, and what is "
        "not under --images stays. An image that cannot be read is listed and stops nothing. A stopped build leaves "
        "the old index whole, and goes on when it is started again. Exit status 1: no image could be read.",
        "vl-keras index runs/retrieval --images ~/photos --out photos.index\n"
        "  vl-keras index runs/retrieval --images ~/photos --out photos.index --delete-missing\n"
        "  vl-keras index runs/retrieval --out photos.index --delete ~/photos/2019 ~/photos/blurred.jpg",
    )
    index.add_argument(
        "--images",
        metavar="PATH",
        nargs="+",
        action="extend",
        default=[],
        help="files, or folders of images; may be left out to delete only",
    )
    index.add_argument("--out", metavar="INDEX", required=True, help="folder of the index; made where absent")
    index.add_argument(
        "--delete",
        metavar="PATH",
        nargs="+",
        action="extend",
        default=[],
        help="take these files, or all below these folders, out of the index, even if --images names them",
    )
    index.add_argument(
        "--delete-missing", action="store_true", help="take images whose files are gone out of the index"
    )
    _run_arguments(index)

    search = _command(
        commands,
        "search",
        _search,
        "find images by words or by another image",
        "Prints a line for each image that was found, best first: rank, score and path, with tabs between.",
        'vl-keras search photos.index --text "a dog in the snow" --sheet found.png\n'
        "  vl-keras search photos.index --image dog.jpg --top 20",
    )
    search.add_argument("index", metavar="INDEX", help="folder that `vl-keras index` made")
    query = search.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", metavar="TEXT", type=_utf8, help="what the images should show")
    query.add_argument("--image", metavar="FILE", help="image that they should be like")
    search.add_argument("--top", metavar="K", type=int, default=10, help="images to find (default: 10)")
    search.add_argument("--sheet", metavar="OUT.png", help="also draw them")
    search.add_argument("--run", metavar="RUN", help="where the run is now, if it was moved since the index was built")

    make_bert = _command(
        commands,
        "make-bert",
        _make_bert,
        "make TensorFlow Hub modules from a BERT checkpoint",
        "Turns a checkpoint folder (config.json, vocab.txt, model.safetensors in Hugging Face's names), a keras-nlp "
        "preset folder, or a config.json alone (random weights) into an encoder and a preprocessing module.",
        "vl-keras make-bert --from all-MiniLM-L6-v2 --out modules/minilm",
    )
    make_bert.add_argument("--from", dest="source", metavar="DIR", required=True, help="the checkpoint's folder")
    make_bert.add_argument("--out", metavar="DIR", required=True, help="a new folder for the two modules")
    make_bert.add_argument(
        "--case",
        choices=("auto", "lower", "keep"),
        default="auto",
        help="letter case of texts (auto: the checkpoint's)",
    )
    return parser


def _command(commands, name, function, summary, description, example):
    command = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=_HelpFormatter,
    )
    command.set_defaults(command=function)
    return command


class _HelpFormatter(argparse.HelpFormatter):
    """Folds the description to the terminal and leaves the example's lines as they are."""

    def _fill_text(self, text, width, indent):
        if text.startswith("example:"):
            return text
        return super()._fill_text(text, width, indent)


def _config_arguments(command):
    command.add_argument("config", metavar="CONFIG", help="YAML file of the experiment")
    _set_argument(command, _OVERRIDE_HELP)


def _run_arguments(command):
    command.add_argument("run", metavar="RUN", help="run directory that `vl-keras train` or `vl-keras ensemble` made")
    _use_arguments(command)


def _use_arguments(command):
    _set_argument(command, _RUN_OVERRIDE_HELP)
    command.add_argument(
        "--weights",
        choices=("auto", "best", "last", "ema"),
        default="auto",
        help="which of the run's weights (auto: best, else last)",
    )


def _set_argument(command, help_text):
    command.add_argument(
        "--set", dest="overrides", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help=help_text
    )


if __name__ == "__main__":
    sys.exit(main())
