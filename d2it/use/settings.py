"""How samples are drawn, and where a trained model's own settings stand."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from d2it.errors import UserError
from d2it.files import read_json

SETTINGS = "settings.json"  # of a published folder
LATE = 0.5  # share of the noise levels below which RefineNets work with refine="late"


class SettingsError(UserError):
    """A setting that cannot be used; the message is one line: which, its value, and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """As in the section `sample` of params.yaml; d2it/params/sections.py says what each means."""

    sampler: str
    steps: int
    guidance: float = 1.0
    guidance_interval: Sequence[float] = (0.0, 1.0)
    guidance_channels: int | Literal["all"] = "all"
    grain_steps: int = 50
    grain_guidance: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    refine: float | Literal["always", "late"] = "always"  # share of the noise levels that RefineNets work at, from 0 on
    bandwidth: float = 0.01  # of the entropy's kernel; `grain.bandwidth`

    @property
    def refine_below(self) -> float:
        """The share of the noise levels, from 0 on, at which RefineNets work."""
        return {"always": 1.0, "late": LATE}[self.refine] if isinstance(self.refine, str) else self.refine

    def changed(self, *, objective: str, **given: Any) -> "Settings":
        """The same but for what is given and not None, checked.

        Raises:
            SettingsError: a value is not allowed.
        """
        known = [field.name for field in fields(self)]
        wrong = [name for name in given if name not in known]
        if wrong:
            raise SettingsError(f"{wrong[0]}: unknown setting; allowed: {', '.join(known)}")
        new = replace(self, **{name: value for name, value in given.items() if value is not None})
        samplers = ("euler", "heun") if objective == "flow" else ("ddpm", "ddim", "dpm-solver++")
        if new.sampler not in samplers:
            raise SettingsError(
                f"sampler = {new.sampler!r}: must be {' or '.join(samplers)}: the model was trained with objective "
                f"{objective!r}"
            )
        for name in ("steps", "grain_steps"):
            if getattr(new, name) < 1:
                raise SettingsError(f"{name} = {getattr(new, name)}: must be at least 1")
        for name in ("guidance", "grain_guidance"):
            if getattr(new, name) < 0:
                raise SettingsError(f"{name} = {getattr(new, name)}: must be at least 0; 1 = no guidance")
        if new.precision not in ("float32", "bfloat16"):
            raise SettingsError(f"precision = {new.precision!r}: must be 'float32' or 'bfloat16'")
        if new.refine not in ("always", "late") and not (isinstance(new.refine, float) and 0 <= new.refine <= 1):
            raise SettingsError(f"refine = {new.refine!r}: must be 'always', 'late' ({LATE}), or from 0.0 to 1.0")
        interval = list(new.guidance_interval)
        if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
            raise SettingsError(f"guidance_interval = {interval}: must be [from, to], each from 0 to 1")
        return new


def default_settings(objective: str) -> Settings:
    """Where nothing else is known: 50 steps, no guidance."""
    return Settings(sampler="euler" if objective == "flow" else "ddim", steps=50)


def settings_of(folder: Path, objective: str) -> Settings:
    """The settings of a folder of trained models: of its own, or of the params.yaml that stands beside it.

    Raises:
        UserError: the file cannot be read.
    """
    if (folder / SETTINGS).exists():
        try:
            return Settings(**read_json(folder / SETTINGS))
        except TypeError as error:
            raise SettingsError(f"{folder / SETTINGS}: not the settings of a model: {error}") from None
    params = folder.resolve().parent / "params.yaml"
    if not params.exists():
        return default_settings(objective)
    from d2it.params.load import load_params

    p = load_params(params)
    if (p.diffusion.objective == "flow") != (objective == "flow"):  # of another experiment
        return default_settings(objective)
    s = p.sample
    return Settings(
        sampler=s.sampler, steps=s.steps, guidance=s.guidance, guidance_interval=s.guidance_interval,
        guidance_channels=s.guidance_channels, grain_steps=s.grain_steps, grain_guidance=s.grain_guidance,
        precision=s.precision, seed=s.seed, bandwidth=p.grain.bandwidth,
    )  # fmt: skip
