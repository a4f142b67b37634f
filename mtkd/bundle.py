"""The bundle: everything a service needs to translate, and the only contract between training and serving.

    BUNDLE/
      manifest.json              what this is: languages, domains, scores, hashes, versions
      sentencepiece.model        the joint subword model
      float32/, int8/            the student as CTranslate2 models, one folder a compute type

What it owns: the manifest's shape, its version, and the check that no file was altered.
What it must not know: torch, fairseq, CTranslate2, HTTP. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mtkd.errors import BundleError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SUBWORD_MODEL = "sentencepiece.model"
COMPUTE_TYPES = ("float32", "int8")


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    `scores` maps metric -> test set -> {"score": float, "signature": str}; `parity` holds what the export's gates
    measured; `files` maps each file's path inside the bundle to {"sha256": hex, "bytes": int}.
    """

    name: str
    source_lang: str
    target_lang: str
    domains: list[str]
    vocabulary: str
    """Fingerprint of the fairseq dictionary, as in the soft-target stores and beside the checkpoints."""
    parameters: int
    beam: int
    length_penalty: float
    max_source_positions: int
    max_target_positions: int
    scores: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """The manifest as it is written."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


class ModelBundle:
    """A bundle on disk; `open` refuses one that is incomplete, altered or of another format."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest

    @classmethod
    def open(cls, root: Path) -> ModelBundle:
        """Read and verify the bundle under `root`.

        Raises:
            BundleError: no manifest, another format version, or a file that is missing or altered.
        """
        path = root / MANIFEST
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BundleError(f"{root}: not a bundle (no {MANIFEST}); make one with 'mtkd export'") from None
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: unreadable manifest: {error}") from None
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if version != FORMAT_VERSION:
            raise BundleError(f"{path}: format version {version!r}, this mtkd reads {FORMAT_VERSION}; export again")
        known = {item.name for item in fields(Manifest)}
        try:
            manifest = Manifest(**{key: value for key, value in raw.items() if key in known})
        except TypeError as error:
            raise BundleError(f"{path}: incomplete manifest: {error}") from None
        for name, expected in manifest.files.items():
            file = root / name
            if not file.resolve().is_relative_to(root.resolve()):
                raise BundleError(f"{path}: file {name!r} lies outside the bundle")
            if not file.is_file():
                raise BundleError(f"{root}: {name} is missing; copy or export the bundle again")
            if sha256_of(file) != expected["sha256"]:
                raise BundleError(f"{root}: {name} was altered (checksum differs); copy or export the bundle again")
        return cls(root, manifest)

    @property
    def digest(self) -> str:
        """Names this exact model: the first 12 digits of the hash over all files' hashes."""
        parts = [f"{name}:{entry['sha256']}" for name, entry in sorted(self.manifest.files.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    @property
    def subword_model(self) -> Path:
        """The SentencePiece model."""
        return self.root / SUBWORD_MODEL

    def model_dir(self, compute_type: str) -> Path:
        """The CTranslate2 model of one compute type.

        Raises:
            BundleError: the bundle has no such compute type.
        """
        path = self.root / compute_type
        if compute_type not in COMPUTE_TYPES or not path.is_dir():
            raise BundleError(f"{self.root}: no compute type {compute_type!r}; there are {', '.join(COMPUTE_TYPES)}")
        return path


def describe_files(root: Path) -> dict[str, dict[str, Any]]:
    """Path, hash and size of every file under `root` but the manifest, for `Manifest.files`."""
    found = sorted(path for path in root.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {
        path.relative_to(root).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in found
    }


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
