"""A tiny experiment whose runs several tests look at."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "configs" / "captioning" / "tiny.yaml"
# Five updates an epoch, with everything on that has a state or an order.
SMALL = (
    "data.shapes.scenes=60",
    "data.shapes.image_size=[24, 32]",
    "data.image_size=[24, 32]",
    "data.batch_size=6",
    "data.captions_per_image=2",
    "data.augment.flip=true",
    "data.augment.word_swap=0.1",
    "model.word_dropout=0.1",
    "training.epochs=2",
    "training.warmup_steps=3",
    "training.accumulate_steps=2",
    "training.evaluate_examples=5",
    "generation.method=greedy",
)
# The same for the tasks of texts beside images: five updates in one epoch.
SMALL_TASK = (
    "data.shapes.scenes=60",
    "data.shapes.image_size=[24, 32]",
    "data.image_size=[24, 32]",
    "data.batch_size=6",
    "data.captions_per_image=2",
    "data.augment.flip=true",
    "data.augment.word_swap=0.1",
    "model.hidden_dim=16",
    "model.intermediate_dim=24",
    "model.dropout=0.1",
    "training.epochs=1",
    "training.warmup_steps=2",
    "training.accumulate_steps=2",
    "training.evaluate_examples=5",
    "training.checkpoint_steps=2",
)
