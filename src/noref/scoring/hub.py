"""Models on the Hugging Face hub: `hf:OWNER/NAME@REVISION`, an ONNX file with its card.

Only `model.card.json` and `model.onnx` of a repository are ever downloaded, never a pickle or code, and the card comes
first: its checksum decides about the model. Needs the extra `hub`.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import ModuleType

from noref.card import Card, card_path, parse_card, read_card
from noref.errors import MissingExtraError, ModelError, OptionError

PREFIX = "hf:"
MODEL = "model.onnx"
CARD = card_path(Path(MODEL)).name
ADDRESS = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def fetch(address: str) -> Path:
    """The model file of `hf:OWNER/NAME@REVISION` in the hub's cache, with its card beside it; downloaded once.

    Args:
        address: REVISION is a commit, which never changes and is not asked for again, or a tag or a branch.

    Raises:
        OptionError: not of that form, or no such repository, revision or model in it.
        ModelError: the card is none, the model is not that of the card, or the hub cannot be reached.
        MissingExtraError: huggingface-hub is not installed.
    """
    repository, revision = _parts(address)
    if revision is None:
        raise OptionError(f"{address}: write hf:OWNER/NAME@REVISION; a commit as REVISION is always the same model")
    card = _download(address, repository, CARD, revision)
    parse_card(card, card.read_bytes())
    model = _download(address, repository, MODEL, card.parent.name)  # of the same commit, where the branch moved on
    read_card(model)
    return model


def push(model: Path, address: str, *, private: bool = False, message: str | None = None) -> str:
    """Upload a model file, its card and a page for people in one commit; the repository is made where it is missing.

    Args:
        model: an ONNX file with its card beside it.
        address: `hf:OWNER/NAME`.
        private: of a new repository.
        message: of the commit.

    Returns:
        `hf:OWNER/NAME@COMMIT`, as `fetch` takes it.

    Raises:
        OptionError: an address of another form, or the hub refuses.
        ModelError: the model is not that of its card.
        MissingExtraError: huggingface-hub is not installed.
    """
    repository, revision = _parts(address)
    if revision is not None or model.suffix != ".onnx":
        raise OptionError(f"{model} to {address}: push takes an .onnx file and hf:OWNER/NAME without a revision")
    card = read_card(model)
    hub = _hub()
    api = hub.HfApi(endpoint=_endpoint(), library_name="noref")
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        files = {CARD: card_path(model).read_bytes(), MODEL: model.read_bytes()}
        if not api.file_exists(repository, "README.md"):
            files["README.md"] = page(card, repository).encode()
        operations = [hub.CommitOperationAdd(name, content) for name, content in files.items()]
        done = api.create_commit(repository, operations, commit_message=message or f"{card.name} with its card")
    except Exception as error:  # a network library may raise anything
        raise OptionError(f"{address}: {_first_line(error)}") from error
    return f"{PREFIX}{repository}@{done.oid}"


def page(card: Card, repository: str) -> str:
    """The README of a repository: what the card says, and the command that uses the model."""
    results = [f"- {', '.join(f'{key} {value}' for key, value in result.items())}" for result in card.results]
    sections = [("Results", results), ("Limits", [f"- {limit}" for limit in card.limits])]
    lines = [
        "---\nlibrary_name: noref\ntags: [image-quality-assessment, no-reference, onnx]\n---",
        f"# {card.name}",
        f"No-reference image quality: {card.method}. Trained on scores of {card.scale}; `noref score` gives 0-100.",
        f"```bash\npip install 'noref[hub]'\nnoref score photos/ --model {PREFIX}{repository}@REVISION\n```",
        f"`{CARD}` says what it learnt from. SHA-256 of `{MODEL}`: `{card.sha256}`.",
        *(f"## {title}\n\n" + "\n".join(rows) for title, rows in sections if rows),
    ]
    return "\n\n".join(lines) + "\n"


def _parts(address: str) -> tuple[str, str | None]:
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise OptionError(f"{address}: a model on the hub is hf:OWNER/NAME@REVISION")
    return match[1], match[2]


def _download(address: str, repository: str, file: str, revision: str) -> Path:
    hub = _hub()
    from huggingface_hub import errors
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined, unused-ignore]

    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        return Path(hub.hf_hub_download(repository, file, revision=revision, endpoint=_endpoint()))
    except errors.RevisionNotFoundError as error:
        raise OptionError(f"{address}: no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise OptionError(f"{address}: no such repository, or none that may be read without its token") from error
    except errors.RemoteEntryNotFoundError as error:
        raise OptionError(f"{address}: not a model of noref: there is no {file} in it") from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(f"{address}: the hub cannot be reached, and the model was not downloaded before") from error
    except Exception as error:  # a network library may raise anything
        raise ModelError(f"{address}: {_first_line(error)}") from error


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("hub", "a model on the hub") from error
    return huggingface_hub


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
