"""Sentence embeddings by any encoder that transformers loads, by name or folder."""

import logging
from collections.abc import Sequence

import numpy as np

from actors.rating.engine_site.likert_engine_hooks import mend_torchvision
from orchestrator.errors import SettingsError

BATCH = 64


class SentenceEmbedder:
    """Mean of a model's last hidden states over a text's words, scaled to length 1, as sentence-transformers do."""

    def __init__(self, model: str, revision: str | None = None) -> None:
        """Load it. Raises SettingsError if it cannot be found, or its weights are no safetensors."""
        mend_torchvision()
        from transformers import AutoModel, AutoTokenizer

        # A report of weights that the pooling head lacks says nothing about what is used here.
        logging.getLogger("transformers").setLevel(logging.ERROR)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)
            self._model = AutoModel.from_pretrained(
                model, revision=revision, trust_remote_code=False, use_safetensors=True
            ).eval()
        except (OSError, ValueError, ImportError) as error:
            raise SettingsError(
                f"data.sentence_model = {model!r} cannot be loaded ({str(error).splitlines()[0]}); name a model that "
                "can be reached, such as sentence-transformers/all-MiniLM-L6-v2, or a folder that holds one"
            ) from None

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [N, size]; equal texts, equal rows."""
        import torch

        parts = []
        with torch.no_grad():
            for start in range(0, len(texts), BATCH):
                words = self._tokenizer(
                    list(texts[start : start + BATCH]), padding=True, truncation=True, return_tensors="pt"
                )
                hidden = self._model(**words).last_hidden_state
                kept = words["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                mean = (hidden * kept).sum(dim=1) / kept.sum(dim=1)
                parts.append(torch.nn.functional.normalize(mean, dim=-1).float().numpy())
        return np.concatenate(parts)
