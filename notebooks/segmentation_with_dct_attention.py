# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Segmentation with attention to frequencies
#
# Thin rings among discs and lines of the same brightness: what tells them apart is
# their shape at a scale. We train LungSSFNet, a U-Net whose highest decoder stages
# weigh channels by their products with cosines, and look at what the attention sees.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import nnx

import jaxvision
from jaxcore import transforms
from jaxcore.training import ArrayBatches, fit
from jaxvision import data, layers, metrics
from jaxvision.recipes.lung_ssfnet import predictions


# The test suite runs this notebook with fewer images and steps.
quick = bool(os.environ.get("SEPARAX_QUICK"))
images, side, epochs = (8, 48, 2) if quick else (200, 96, 30)

# %% [markdown]
# ## The data
#
# One to three rings in each image; the label is their wall, one to three pixels wide.
# For your own data, `data.read_segmentation_folder("my_data", 512)` reads `images/` and
# `masks/`.

# %%
train = data.synthetic_rings(images, side, seed=0)
test = data.synthetic_rings(images // 2, side, seed=1)
figure, axes = plt.subplots(2, 4, figsize=(10, 5))
for column, image, label in zip(axes.T, train["image"], train["label"], strict=False):
    column[0].imshow(image[..., 0], cmap="gray")
    column[1].imshow(label, cmap="gray")
plt.show()

# %% [markdown]
# ## What a channel is multiplied with
#
# The orthonormal cosines of a 7 x 7 grid. `(0, 0)` is constant: its coefficient is the
# mean of the channel, all that squeeze-excitation looks at. Sixteen of them, ranked on
# ImageNet, are used. Average, maximum and minimum of the product weigh the channel.

# %%
pairs = transforms.frequency_list("top", 16)
positions = (np.arange(56) + 0.5) / 56
waves = np.cos(np.pi * 8 * np.arange(7)[:, None] * positions)
figure, axes = plt.subplots(2, 8, figsize=(10, 3))
for axis, (u, v) in zip(axes.flat, pairs, strict=True):
    axis.imshow(np.outer(waves[u], waves[v]), cmap="gray", vmin=-1, vmax=1)
    axis.set_title(f"{u}, {v}")
    axis.axis("off")
plt.show()
found = transforms.multi_frequency_statistics(train["image"][:2], pairs, 56)
print({name: np.round(v[:, 0], 3).tolist() for name, v in found._asdict().items()})

# %% [markdown]
# ## Training
#
# A recipe is a frozen configuration; `replace` changes fields. Its task runs in the
# training engine: the same line with `devices=`, `parallel=`, `precision=`,
# `checkpoint=` uses them. The plain U-Net is the same recipe without the new blocks.

# %%
channels = (4, 8) if quick else (8, 16, 32, 64)
results = {}
for name, stages in (("U-Net", 0), ("with attention", 1)):
    recipe = jaxvision.recipe("lung_ssfnet", preset="small")
    recipe = recipe.replace(
        network=type(recipe.config.network)(
            1, 1, channels, stages, stages, narrowest=16, frequencies=2 if quick else 16
        ),
        image_size=side,
        epochs=epochs,
        num_images=images,
        batch_size=4,
    )
    batches = ArrayBatches(train, 4, seed=0, last="drop")
    result = fit(recipe.task(), batches, recipe.config.steps, key=jax.random.key(0))
    results[name] = recipe, result.state
    print(f"{name}: loss {result.metrics['loss']:.3f} after {result.step} steps")

# %% [markdown]
# ## What comes out
#
# The network is a pure function of its parameters. Dice is taken image by image, of the
# wall alone.

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 4))
axes[0].imshow(test["label"][0], cmap="gray")
for axis, (name, (recipe, state)) in zip(axes[1:], results.items(), strict=True):
    graph, _, _ = layers.split(
        nnx.eval_shape(lambda r=recipe: r.network(rngs=nnx.Rngs(0)))
    )

    @jax.jit
    def predict(state, image, graph=graph):
        model = nnx.merge(graph, state["params"], state["statistics"], copy=True)
        model.eval()
        return predictions(model(data.standardize(image)))

    labels = predict(state, test["image"][:4])
    dice = metrics.overlap_per_image(labels, jnp.asarray(test["label"][:4]), 2)
    print(f"{name}: Dice of the rings {float(dice[:, 1].mean()):.3f}")
    axis.imshow(labels[0], cmap="gray")
    axis.set_title(name)
plt.show()
