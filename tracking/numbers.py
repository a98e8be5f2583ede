"""The numbers of an experiment that matter, rounded to what their error supports."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from d2it.evaluation.metrics import number_name

MOST = 5
DIGITS = 3  # of a number whose error nobody has measured


@dataclass(frozen=True)
class Headline:
    """One of them, as text."""

    name: str
    text: str
    beside: str = ""  # what to hold it against, in brackets


def distance_name(params: Mapping[str, str]) -> str:
    """The parent run's number by which experiments are compared first, from its params as texts."""
    return f"fid.{number_name('fd', params.get('fid.extractor', 'inception'))}"


def headlines(metrics: Mapping[str, float], extractor: str) -> list[Headline]:
    """At most MOST, the most telling first; none while `fid` has not ended.

    Args:
        metrics: final numbers, '<stage>.<number>', as a parent run has them.
        extractor: `fid.extractor`, by which the numbers are named.
    """

    def get(name: str) -> float | None:
        value = metrics.get(f"fid.{number_name(name, extractor)}", math.nan)
        return None if math.isnan(value) else value  # NaN: not measured yet

    samples, held_out = metrics.get("sample.images", 0.0), metrics.get("prepare.validation_images", 0.0)
    distance, of_reconstructions = ("FID", "rFID") if extractor == "inception" else (f"FD ({extractor})", "rFD")
    agreement, real = _share(get("class_agreement"), samples), _share(get("class_agreement_validation"), held_out)
    psnr = metrics.get("train_dvae.psnr")
    texts = [
        Headline(distance, _significant(get("fd"))),
        Headline("KID", _with_error(get("kid"), get("kid_standard_error"))),
        Headline("class agreement", agreement, f" (held-out images {real})" if real else ""),
        Headline(of_reconstructions, _significant(get("rfd"))),
        Headline("reconstruction PSNR", "" if psnr is None else f"{psnr:.1f} dB"),
        Headline("precision", _share(get("precision"), samples)),
        Headline("recall", _significant(get("recall"))),  # a share of real images, by all samples: no plain error
    ]
    known = [one for one in texts if one.text]
    return known[:MOST] if get("fd") is not None or get("kid") is not None else []


def rounded(value: float, error: float) -> str:
    """'0.148 ± 0.004': the error with one digit, two where the first is 1, and the value to the same place."""
    places = -math.floor(math.log10(error))
    places += f"{error:e}".startswith("1")
    nearest = round(value, places) + 0.0  # no -0.00
    return f"{nearest:.{max(0, places)}f} ± {round(error, places):.{max(0, places)}f}"


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return rounded(value, error) if error and math.isfinite(error) else _significant(value)


def _share(share: float | None, count: float) -> str:
    """A share of so many images, with the binomial's standard error; of none and all that of one image."""
    if share is None or count < 1:
        return _significant(share)
    return rounded(share, max(math.sqrt(max(share * (1 - share), 0.0) / count), 1 / count))


def _significant(value: float | None) -> str:
    if value is None:
        return ""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = DIGITS - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):.{max(0, places)}f}"
