"""The five measurements. Each takes a ``Workshop`` and returns what goes into the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from training.measure import judges
from training.measure.confidence import bootstrap
from training.measure.copying import nearest, ngram_overlap, piece_chroma
from training.measure.evidence import Evidence
from training.measure.frechet import frechet_distance
from training.measure.hearing import CHROMA_RATE
from training.measure.reconstruction import codebook_use, mel_distance, si_sdr
from training.measure.tagger import FEATURES
from training.measure.workshop import Workshop
from training.music.compose import SECONDS, Piece, compose
from training.music.render import SAMPLE_RATE

__all__ = ["STAGES", "Result"]

Result = dict[str, Any]

RUN = 8  # codes: 0.16 s
KNOWN, GUESSED = 500, 250  # frames of a piece that the decoder is given, and has to go on
SPLITS = 20  # halves of the calibration pieces


def codec(workshop: Workshop) -> Result:
    """What the codec keeps of rendered pieces, and how much of its codebooks they use."""
    mel, sdr, codes = [], [], []
    for index, piece in enumerate(workshop.prompts):
        original, decoded = workshop.reference(piece), workshop.decoded(piece)
        mel.append(mel_distance(original, decoded, SAMPLE_RATE))
        sdr.append(si_sdr(original, decoded))
        codes.append(workshop.encode(original))
        workshop.tell("codec", index, len(workshop.prompts))
    styles = [piece.style for piece in workshop.prompts]
    entries = workshop.player.decoder.config.codebook_size
    return {
        "mel_distance_db": asdict(bootstrap(np.array(mel))),
        "si_sdr_db": asdict(bootstrap(np.array(sdr))),
        "by_style": {
            style: {
                "mel_distance_db": _mean_where(mel, styles, style),
                "si_sdr_db": _mean_where(sdr, styles, style),
            }
            for style in dict.fromkeys(styles)
        },
        "codebooks": [asdict(use) for use in codebook_use(np.stack(codes), entries)],
        "entries": entries,
    }


def prediction(workshop: Workshop) -> Result:
    """Cross-entropy on whole held-out pieces, with their captions and with other pieces'."""
    pieces = [compose(seed) for seed in workshop.options.held_out]
    right, wrong = [], []
    for index, piece in enumerate(pieces):
        other = pieces[(index + 1) % len(pieces)].caption
        right.append(workshop.entropy(piece, piece.caption))
        wrong.append(workshop.entropy(piece, other))
        workshop.tell("prediction", index, len(pieces))
    own, others = np.stack(right), np.stack(wrong)  # [pieces, K]
    return {
        "right_caption": asdict(bootstrap(own.mean(axis=1))),
        "wrong_caption": asdict(bootstrap(others.mean(axis=1))),
        "cost_of_wrong_caption": asdict(bootstrap((others - own).mean(axis=1))),
        "right_by_codebook": own.mean(axis=0).tolist(),
        "wrong_by_codebook": others.mean(axis=0).tolist(),
    }


def adherence(workshop: Workshop) -> Result:
    """How often a take is what its prompt asked for, as each judge hears it."""
    calibration = _heard(workshop, "calibration", workshop.calibration, workshop.heard_reference)
    references = _heard(workshop, "references", workshop.prompts, workshop.heard_reference)
    decoded = _heard(workshop, "decoded", workshop.prompts, workshop.heard_decoded)
    takes = _all_takes(workshop)
    result: Result = {}
    for name, judge in _judges(workshop, calibration).items():
        made = judge.heard(takes, workshop.prompts)
        prompts = len(workshop.prompts)
        made = made.reshape(prompts, -1, prompts).mean(axis=1)  # [prompts, prompts]
        result[name] = {
            "takes": _share(made.diagonal()),
            "floor": _share(_off_diagonal(made)),
            "decoded": _share(judge.heard(decoded, workshop.prompts).diagonal()),
            "ceiling": _share(judge.heard(references, workshop.prompts).diagonal()),
        }
    return result


def distance(workshop: Workshop) -> Result:
    """Fréchet distances from rendered pieces, on the features of musicnn's MSD model."""
    if workshop.tagger is None:
        return {}
    tagger, samples = workshop.tagger, round(workshop.options.seconds * SAMPLE_RATE)
    random = np.random.default_rng(0)
    noise = [random.normal(0, 0.12, samples).astype(np.float32) for _ in workshop.prompts]
    crowds = {
        "rendered": _features(map(workshop.heard_reference, workshop.prompts)),
        "decoded": _features(map(workshop.heard_decoded, workshop.prompts)),
        "takes": _features(workshop.heard_take(piece, 0) for piece in workshop.prompts),
        "noise": np.concatenate([tagger.hear(n, SAMPLE_RATE)[1][:, FEATURES:] for n in noise]),
    }
    others = [_features([workshop.heard_reference(piece)]) for piece in workshop.calibration]
    distances: dict[str, list[float]] = {name: [] for name in crowds}
    for _ in range(SPLITS):
        picked = random.choice(len(others), len(workshop.prompts), replace=False)
        crowd = np.concatenate([others[index] for index in picked])
        for name, features in crowds.items():
            distances[name].append(frechet_distance(features, crowd))
    return {
        name: {"mean": float(np.mean(some)), "least": min(some), "most": max(some)}
        for name, some in distances.items()
    }


def copying(workshop: Workshop) -> Result:
    """Whether takes are nearer to the training than pieces are that no training saw.

    All sounds have been through the codec, so that a copied piece sounds as a take of it would.
    """
    training = [compose(seed) for seed in workshop.options.trained]
    chroma = np.stack([piece_chroma(piece, SECONDS) for piece in training])
    probes = workshop.trained_on(workshop.options.probes)
    middle = SECONDS / 3
    groups: dict[str, list[tuple[Piece, Evidence, np.ndarray]]] = {
        "takes": [
            (piece, workshop.heard_take(piece, 0), workshop.take(piece, 0))
            for piece in workshop.prompts
        ],
        "unseen": [
            (piece, workshop.heard_decoded(piece), workshop.decoded(piece))
            for piece in workshop.prompts
        ],
        "trained": [
            (piece, workshop.heard_decoded(piece, middle), workshop.decoded(piece, middle))
            for piece in probes
        ],
    }
    result: Result = {"training_pieces": len(training)}
    for name, group in groups.items():
        likeness, overlap, found = [], [], []
        places = nearest([evidence.chroma[:, :-1] for _, evidence, _ in group], chroma)
        for index, (piece, _, sound) in enumerate(group):
            place, frame, like = places[index]
            likeness.append(like)
            found.append(training[place].seed == piece.seed)
            if index < workshop.options.probes:
                there = workshop.decoded(training[place], frame / CHROMA_RATE)
                codes, others = workshop.encode(sound)[0], workshop.encode(there)[0]
                overlap.append(ngram_overlap(codes, [others], RUN))
            workshop.tell(f"copying, {name}", index, len(group))
        result[name] = {
            "likeness": asdict(bootstrap(np.array(likeness))),
            "likenesses": likeness,
            "runs_of_nearest": asdict(bootstrap(np.array(overlap))),
            "found": float(np.mean(found)),
        }
    limit = float(np.percentile(result["unseen"]["likenesses"], 95))
    for name in groups:
        result[name]["above_limit"] = float(np.mean(np.array(result[name]["likenesses"]) > limit))
    return result | {"limit": limit} | _recall(workshop, probes)


def _recall(workshop: Workshop, probes: list[Piece]) -> Result:
    """Whether the decoder knows trained pieces better: their codes, and how they go on."""
    unseen = [compose(seed) for seed in workshop.options.held_out][: len(probes)]
    result: Result = {}
    for name, pieces in (("trained", probes), ("unseen", unseen)):
        entropy, same, runs = [], [], []
        for index, piece in enumerate(pieces):
            entropy.append(workshop.entropy(piece, piece.caption).mean())
            true = workshop.codes(piece)[0, KNOWN : KNOWN + GUESSED]
            guessed = workshop.continuation(piece, KNOWN, GUESSED)[0]
            same.append(float((guessed == true).mean()))
            runs.append(ngram_overlap(guessed, [true], RUN))
            workshop.tell(f"recall, {name}", index, len(pieces))
        result[f"recall_{name}"] = {
            "cross_entropy": asdict(bootstrap(np.array(entropy))),
            "same_codes": asdict(bootstrap(np.array(same))),
            "same_runs": asdict(bootstrap(np.array(runs))),
        }
    return result


STAGES: dict[str, Callable[[Workshop], Result]] = {
    "codec": codec,
    "prediction": prediction,
    "adherence": adherence,
    "distance": distance,
    "copying": copying,
}


def _judges(workshop: Workshop, calibration: list[Evidence]) -> dict[str, judges.Judge]:
    pieces = workshop.calibration
    plain: dict[str, judges.Judge] = {
        "tempo band": judges.TempoBandJudge(),
        "tempo": judges.TempoJudge(),
        "mode": judges.ModeJudge(),
        "drums": judges.DrumJudge(calibration, pieces),
    }
    if workshop.tagger is None:
        return plain
    return {
        "style": judges.StyleJudge(calibration, pieces),
        "style by tags": judges.TagJudge(calibration, pieces),
        "instruments": judges.FamilyJudge(calibration, pieces),
        **plain,
    }


def _all_takes(workshop: Workshop) -> list[Evidence]:
    """Of all prompts; a prompt's takes follow each other."""
    takes = []
    for index, piece in enumerate(workshop.prompts):
        takes += [workshop.heard_take(piece, number) for number in range(workshop.options.takes)]
        workshop.tell("takes", index, len(workshop.prompts))
    return takes


def _heard(
    workshop: Workshop, name: str, pieces: list[Piece], hear: Callable[[Piece], Evidence]
) -> list[Evidence]:
    evidence = []
    for index, piece in enumerate(pieces):
        evidence.append(hear(piece))
        workshop.tell(name, index, len(pieces))
    return evidence


def _features(sounds: Iterable[Evidence]) -> np.ndarray:
    """Those of the MSD model: [patches of all sounds, FEATURES]."""
    return np.concatenate([sound.features[:, FEATURES:] for sound in sounds])


def _share(values: np.ndarray) -> dict[str, float]:
    return asdict(bootstrap(values))


def _off_diagonal(heard: np.ndarray) -> np.ndarray:
    """For each prompt, how often it is heard in other prompts' takes."""
    others = np.where(np.eye(len(heard), dtype=bool), 0, heard)
    mean: np.ndarray = others.sum(axis=0) / (len(heard) - 1)
    return mean


def _mean_where(values: list[float], styles: list[str], style: str) -> float:
    return float(np.mean([v for v, s in zip(values, styles, strict=True) if s == style]))
