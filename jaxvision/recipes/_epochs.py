"""How long a recipe trains: whole epochs, the rest of their images dropped."""

from __future__ import annotations

from jaxvision.layers._checks import positive


class Epochs:
    """Base of recipes with `num_images`, `batch_size` and `epochs`."""

    batch_size: int
    epochs: int
    num_images: int

    @property
    def epoch_images(self) -> int:
        """Images of one epoch."""
        return self.num_images

    @property
    def epoch_steps(self) -> int:
        """Steps of one epoch."""
        return self.epoch_images // self.batch_size

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.epoch_steps

    def check_length(self, owner: str) -> None:
        """Raises ValueError, beginning with `owner`, where no step would be taken."""
        positive(owner, epochs=self.epochs, batch_size=self.batch_size)
        if self.num_images < self.batch_size:
            raise ValueError(
                f"{owner}: `num_images` must be at least the batch size, "
                f"{self.batch_size}, got {self.num_images}"
            )
