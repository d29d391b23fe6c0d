"""Stands in for spaCy's English model, which AudioCraft's debug model splits words with."""

from __future__ import annotations

from typing import Any

import spacy


def load(**_: Any) -> spacy.Language:
    """A pipeline that only splits into words."""
    return spacy.blank("en")
