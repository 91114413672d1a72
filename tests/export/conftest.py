"""A tiny trained run, exported once."""

import pytest


@pytest.fixture(scope="session")
def exported(trained_run, tmp_path_factory):
    """`Exported`, the first version of a model called `captioner`."""
    from export.savedmodel import export_savedmodel

    base = tmp_path_factory.mktemp("models") / "captioner"
    return export_savedmodel(trained_run, base, overrides=["generation.method=beam", "generation.min_length=4"])
