"""The metrics of retrieval as one flat dict."""

from typing import Any

PROTOCOL = 1000  # images in a fold of the evaluation


def recall_metrics(scores: dict[str, Any]) -> dict[str, Any]:
    """The result of `retrieval_scores` as one flat dict, with the mean of the six recalls.

    Returns:
        Dict: `mean_recall`; `image_to_text R@1` and so on, in percent; `image_to_text median_rank`, ….
    """
    metrics = {}
    for direction in ("image_to_text", "text_to_image"):
        for name, value in scores[direction].items():
            metrics[f"{direction} {name.replace('recall_at_', 'R@')}"] = value
    recalls = [value for name, value in metrics.items() if "R@" in name]
    return {"mean_recall": sum(recalls) / len(recalls), **metrics}
