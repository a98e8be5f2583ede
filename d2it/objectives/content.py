"""Training of the Dynamic Content Transformer: what its loss reads of encoded photos, and draws for each."""

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from d2it.data.latents import CompactBatch, Latents
from d2it.diffusion.content import draw_content_loss
from d2it.diffusion.noise import Draws, draw
from d2it.diffusion.schedule import Schedule
from d2it.training.run import MicroBatch, Numbers
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.routing import Route

if TYPE_CHECKING:  # pydantic, without which the GPU benchmarks do
    from d2it.params.sections import Params


class ContentData(NamedTuple):
    """A micro-batch as it is read ahead of time, on the CPU, pinned where a GPU fetches it."""

    batch: CompactBatch
    draws: Draws
    routes: list[Route]  # of the batch's grain maps


class ContentTraining:
    """Loss of the content transformer, and what it reads."""

    def __init__(
        self, model: DynamicContentTransformer, latents: Latents, params: "Params", *, schedule: Schedule, scale: float
    ) -> None:
        """`schedule` on the model's device; `scale`: the DVAE's `latent_scale`."""
        self.model, self.latents, self.params, self.schedule, self.scale = model, latents, params, schedule, scale
        self._device = next(model.parameters()).device
        self._pinned = self._device.type == "cuda"
        self._noise = (2, latents.latent_channels, *latents.latent_grid)  # posterior's, and ε

    def read(self, micro: MicroBatch) -> ContentData:
        """Latents, draws and routes; in other threads."""
        batch, draws = self.latents.read(micro.rows, pinned=self._pinned), draw(micro.streams(), self._noise)
        routes = self.model.route(batch.grain_map)
        if self._pinned:
            draws, routes = draws.pinned(), [route.pinned() for route in routes]
        return ContentData(batch, draws, routes)

    def loss(self, _: MicroBatch, data: ContentData) -> tuple[Tensor, Numbers]:
        """Mean over the micro-batch, with its parts."""
        p, device = self.params, self._device
        losses = draw_content_loss(
            self.schedule, self.model, self.latents.spread(data.batch, device), data.draws.to(device),
            scale=self.scale, label_dropout=p.content_transformer.label_dropout, objective=p.diffusion.objective,
            weighting=p.content_transformer.loss_weighting, times=p.diffusion.flow_times,
            routes=[route.to(device) for route in data.routes],
        )  # fmt: skip
        means = {name: values.mean() for name, values in losses._asdict().items()}
        return means["loss"], means
