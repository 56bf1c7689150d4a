"""Legs of training by other people's tools, for the benchmark of training.

All train the same network from the same weights by the same loss, with torch's fused AdamW in the
same groups, the same cosine and the same moving average; gradients are clipped by one norm. Then
they compute the losses of every module, which the five phases read: losses of the weights on
val_select and on texts of train, and losses of the average on val_select. A leg is a process that
goes on from the previous checkpoint and saves a checkpoint:

    python bench/training_rivals.py CONTESTANT FOLDER LEG
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from redheart.encoding import tokens
from redheart.encoding.batch import Batch, make_batch
from redheart.evaluation.inference import module_scores
from redheart.model.backbone import TextDropout
from redheart.model.network import build_network
from redheart.recipe.build import read_recipe
from redheart.storage import files
from redheart.tasks.losses import labelled, training_losses
from redheart.training.optimizer import build_optimizer, schedule

EVALUATION_BATCH = 64
# Texts are sorted by length within so many batches, the number of Hugging Face's sampler.
CHUNK = 50


class Supervised(nn.Module):
    """The network and its loss, from a dictionary of tensors, as Trainer and Lightning need it."""

    def __init__(self, recipe: Any, part: tokens.Encoded) -> None:
        super().__init__()
        self.recipe = recipe
        self.network = build_network(recipe.model, recipe.tasks, part.sizes, seed=0)

    def forward(
        self, input_ids: Tensor, mask: Tensor, ngrams: Tensor, ngram_values: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Return the `loss`, 0 in evaluation, and all `outputs` side by side."""
        batch = Batch(input_ids, mask, ngrams, ngram_values, full=bool(mask.all()))
        twice = self.training and self.recipe.train.rdrop > 0
        contributions = self.network(batch.doubled() if twice else batch)
        loss = self.loss(contributions, labels) if self.training else torch.zeros(())
        flat = [each for by_module in contributions.values() for each in by_module.values()]
        self.names = [(task, list(by_module)) for task, by_module in contributions.items()]
        return {"loss": loss, "outputs": torch.cat(flat, dim=1)}

    def loss(self, contributions: Any, labels: Tensor) -> Tensor:
        options, loss = self.recipe.train, torch.zeros(())
        for task, target in zip(self.recipe.tasks, self.by_task(labels), strict=True):
            stacked = torch.stack(list(contributions[task.name].values()))
            each = training_losses(task, stacked, target, options.label_smoothing, options.rdrop)
            loss = loss + task.weight * each.sum() / labelled(target).sum().clamp(min=1)
        return loss

    def by_task(self, labels: Tensor) -> Sequence[Tensor]:
        return labels.split([task.width for task in self.recipe.tasks], dim=1)

    def table(self, outputs: Tensor, labels: Tensor) -> dict[str, Any]:
        """Return each module's losses and accuracies by task."""
        tasks, contributions, start = self.recipe.tasks, {}, 0
        for task, (name, modules) in zip(tasks, self.names, strict=True):
            stop = start + task.width * len(modules)
            columns = outputs[:, start:stop].split(task.width, dim=1)
            contributions[name] = dict(zip(modules, columns, strict=True))
            start = stop
        by_task = zip(tasks, self.by_task(labels), strict=True)
        part: Any = SimpleNamespace(targets={task.name: rows.numpy() for task, rows in by_task})
        return module_scores(tasks, contributions, part)


class Texts(torch.utils.data.Dataset):
    """A part as a dataset, and the collate function that makes its batches."""

    def __init__(self, part: tokens.Encoded, recipe: Any) -> None:
        self.part, self.padded = part, 0
        rows = [part.targets[task.name] for task in recipe.tasks]
        self.labels = torch.from_numpy(np.concatenate(rows, axis=1))

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"row": row, "input_ids": self.part.ids[row]}

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return self.batch([item["row"] for item in items])

    def batch(self, rows: Sequence[int]) -> dict[str, Any]:
        batch = make_batch(self.part, rows)
        self.padded += batch.ids.numel()
        views = {"mask": batch.mask, "ngrams": batch.ngrams, "ngram_values": batch.ngram_values}
        return {"input_ids": batch.ids, **views, "labels": self.labels[rows]}

    def grouped(self, batch_size: int, generator: np.random.Generator) -> Iterator[list[int]]:
        """Yield batches of similar length, of an epoch in random order."""
        lengths = self.part.lengths
        order, batches = generator.permutation(len(self)), []
        for start in range(0, len(order), CHUNK * batch_size):
            chunk = order[start : start + CHUNK * batch_size]
            chunk = chunk[np.argsort(lengths[chunk])].tolist()
            batches += [chunk[i : i + batch_size] for i in range(0, len(chunk), batch_size)]
        for index in generator.permutation(len(batches)):
            yield batches[index]


@dataclass
class Leg:
    """The task of a leg, with the parts that all contestants share."""

    folder: Path
    """The folder of the contestant."""
    number: int
    """Number of the leg, from 1."""
    settings: dict[str, Any]
    """The config."""
    micro_batch: int
    """Texts of a pass."""
    accumulation: int
    """Passes of an optimizer step."""
    peak: float
    """Learning rate at the beginning of the schedule."""

    def __post_init__(self) -> None:
        self.recipe = read_recipe(self.settings)
        torch.set_num_threads(self.recipe.train.cpu_threads)
        torch.manual_seed(self.number)
        shared = self.folder.parent
        train = tokens.load_encoded(shared / "train.npz")
        validation = tokens.load_encoded(shared / "val_select.npz")
        scored = train.head(self.settings["train"]["scored_train_records"])
        self.train = Texts(train, self.recipe)
        self.validation, self.scored = (Texts(p, self.recipe) for p in (validation, scored))
        self.model = Supervised(self.recipe, train)
        self.epochs = self.settings["train"]["checkpoint_every"]
        self.stop = self.number * self.epochs
        window = self.micro_batch * self.accumulation
        self.steps = -(-len(train) // window)
        self.total_steps = self.steps * self.settings["train"]["epochs"]

    def optimizer(self) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
        """Return fused AdamW and the cosine, with the groups and rates of the recipe."""
        found = build_optimizer(self.model.network, self.recipe.train).param_groups
        groups = [
            {name: group[name] for name in ("params", "eps", "weight_decay")}
            | {"lr": self.peak * group["multiplier"] + group["own_rate"]}
            for group in found
        ]
        optimizer = torch.optim.AdamW(groups, fused=True)
        final = self.recipe.train.final_rate
        cosine = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: schedule(step, self.total_steps, final)
        )
        return optimizer, cosine

    def average(self) -> torch.optim.swa_utils.AveragedModel:
        """Return the moving average, as an object of torch's own class."""
        most = self.recipe.train.ema_decay

        @torch.no_grad()
        def move(averaged: Any, current: Any, count: Any) -> None:
            decay = min(most, (1 + int(count)) / (10 + int(count)))
            torch._foreach_lerp_(list(averaged), list(current), 1 - decay)

        return torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=move)

    def checkpoint(self, number: int) -> Path:
        return self.folder / f"leg_{number}.pt"

    def finish(self, trained: float, started: float, tables: dict[str, Any], padded: int) -> None:
        """Write the tables and the times of the leg."""
        files.write_json(self.folder / f"metrics_{self.number}.json", tables)
        facts = {
            "train": trained,
            "evaluate": time.perf_counter() - started,
            "padded": padded,
        }
        files.write_json(self.folder / f"facts_{self.number}.json", facts)


def plain(leg: Leg) -> None:
    """Train by a careful person's loop: with batches of similar length, without repeated work."""
    drop_by_element(leg.model)
    plain_own_dropout(leg)


def drop_by_element(network: nn.Module) -> None:
    """Replace Red Heart's dropout by torch's, which draws a number for every element."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, TextDropout):
                setattr(module, name, nn.Dropout(child.probability))


def plain_own_dropout(leg: Leg) -> None:
    """Train by the same loop with Red Heart's dropout: one random number per text and feature."""
    model, average = leg.model, leg.average()
    optimizer, cosine = leg.optimizer()
    owners: dict[str, Any] = {
        "model": model,
        "average": average,
        "optimizer": optimizer,
        "cosine": cosine,
    }
    if leg.number > 1:
        saved = torch.load(leg.checkpoint(leg.number - 1), weights_only=True)
        for name, owner in owners.items():
            owner.load_state_dict(saved[name])
    generator = np.random.default_rng(leg.number)
    parameters = list(model.parameters())
    model.train()
    started = time.perf_counter()
    for _ in range(leg.epochs):
        batches = list(leg.train.grouped(leg.micro_batch, generator))
        for number, rows in enumerate(batches, start=1):
            loss = model(**leg.train.batch(rows))["loss"] / leg.accumulation
            loss.backward()
            if number % leg.accumulation == 0 or number == len(batches):
                nn.utils.clip_grad_norm_(parameters, leg.recipe.train.clip_norm)
                optimizer.step()
                cosine.step()
                optimizer.zero_grad()
                average.update_parameters(model)
    trained, padded = time.perf_counter() - started, leg.train.padded
    started = time.perf_counter()
    tables = {
        "validation": evaluate_by_length(model, leg.validation),
        "train": evaluate_by_length(model, leg.scored),
        "average": evaluate_by_length(average.module, leg.validation),
    }
    leg.finish(trained, started, tables, padded)
    states = {name: owner.state_dict() for name, owner in owners.items()}
    torch.save(states, leg.checkpoint(leg.number))


@torch.inference_mode()
def evaluate_by_length(model: Any, texts: Texts) -> dict[str, Any]:
    model.eval()
    order = np.argsort(texts.part.lengths).tolist()
    batches = [order[i : i + EVALUATION_BATCH] for i in range(0, len(order), EVALUATION_BATCH)]
    outputs = [model(**texts.batch(rows))["outputs"] for rows in batches]
    return model.table(torch.cat(outputs), texts.labels[order])


def trainer(leg: Leg, sampling: str) -> None:
    """Train by transformers' Trainer, which saves and resumes its own checkpoints."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    average = leg.average()

    class Plan(TrainerCallback):
        """Updates the moving average, and ends the leg."""

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            average.update_parameters(leg.model)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            control.should_training_stop = control.should_save = (
                state.global_step >= leg.stop * leg.steps
            )

    arguments = TrainingArguments(
        output_dir=str(leg.folder),
        per_device_train_batch_size=leg.micro_batch,
        per_device_eval_batch_size=EVALUATION_BATCH,
        gradient_accumulation_steps=leg.accumulation,
        num_train_epochs=leg.settings["train"]["epochs"],
        max_grad_norm=leg.recipe.train.clip_norm,
        train_sampling_strategy=sampling,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=False,
    )
    used = Trainer(
        leg.model,
        arguments,
        data_collator=leg.train.collate,
        train_dataset=leg.train,
        callbacks=[Plan()],
        optimizers=leg.optimizer(),
    )
    before = leg.folder / f"checkpoint-{(leg.number - 1) * leg.epochs * leg.steps}"
    if leg.number > 1:
        average.load_state_dict(torch.load(leg.checkpoint(leg.number - 1), weights_only=True))
    started = time.perf_counter()
    used.train(resume_from_checkpoint=str(before) if leg.number > 1 else None)
    trained, padded = time.perf_counter() - started, leg.train.padded
    started = time.perf_counter()

    def evaluate(texts: Texts) -> dict[str, Any]:
        used.data_collator = texts.collate
        found = used.predict(texts)
        return leg.model.table(*map(torch.from_numpy, (found.predictions, found.label_ids)))

    tables = {"validation": evaluate(leg.validation), "train": evaluate(leg.scored)}
    torch.save(average.state_dict(), leg.checkpoint(leg.number))
    leg.model.load_state_dict(average.module.state_dict())
    tables["average"] = evaluate(leg.validation)
    leg.finish(trained, started, tables, padded)


def lightning(leg: Leg, grouped: bool) -> None:
    """Train by Lightning, with its own loader or with batches of similar length."""
    import lightning.pytorch as pl
    from torch.utils.data import DataLoader, Sampler

    average = leg.average()

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = leg.model
            self.outputs: list[Tensor] = []
            self.labels: list[Tensor] = []

        def training_step(self, batch: dict[str, Tensor], number: int) -> Tensor:
            return self.model(**batch)["loss"]

        def on_train_batch_end(self, *given: Any) -> None:
            if self.trainer.global_step > int(average.n_averaged):
                average.update_parameters(leg.model)

        def validation_step(self, batch: dict[str, Tensor], number: int) -> None:
            self.outputs.append(self.model(**batch)["outputs"])
            self.labels.append(batch["labels"])

        def configure_optimizers(self) -> Any:
            optimizer, cosine = leg.optimizer()
            return [optimizer], [{"scheduler": cosine, "interval": "step"}]

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["average"] = average.state_dict()

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            average.load_state_dict(checkpoint["average"])

    class Grouped(Sampler):
        def __iter__(self) -> Iterator[list[int]]:
            return leg.train.grouped(leg.micro_batch, generator)

        def __len__(self) -> int:
            return -(-len(leg.train) // leg.micro_batch)

    generator = np.random.default_rng(leg.number)
    batches: dict[str, Any] = (
        {"batch_sampler": Grouped()}
        if grouped
        else {"batch_size": leg.micro_batch, "shuffle": True}
    )
    used = pl.Trainer(
        accelerator="cpu",
        max_epochs=leg.stop,
        accumulate_grad_batches=leg.accumulation,
        gradient_clip_val=leg.recipe.train.clip_norm,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Module()
    before = leg.checkpoint(leg.number - 1) if leg.number > 1 else None
    started = time.perf_counter()
    used.fit(
        module, DataLoader(leg.train, collate_fn=leg.train.collate, **batches), ckpt_path=before
    )
    trained, padded = time.perf_counter() - started, leg.train.padded
    used.save_checkpoint(leg.checkpoint(leg.number))
    started = time.perf_counter()

    def evaluate(texts: Texts) -> dict[str, Any]:
        module.outputs, module.labels = [], []
        loader = DataLoader(texts, EVALUATION_BATCH, collate_fn=texts.collate)
        used.validate(module, loader, verbose=False)
        return leg.model.table(torch.cat(module.outputs), torch.cat(module.labels))

    tables = {"validation": evaluate(leg.validation), "train": evaluate(leg.scored)}
    leg.model.load_state_dict(average.module.state_dict())
    tables["average"] = evaluate(leg.validation)
    leg.finish(trained, started, tables, padded)


RIVALS: dict[str, Callable[[Leg], None]] = {
    "plain": plain,
    "plain_own_dropout": plain_own_dropout,
    "trainer": lambda leg: trainer(leg, "random"),
    "trainer_grouped": lambda leg: trainer(leg, "group_by_length"),
    "lightning": lambda leg: lightning(leg, False),
    "lightning_grouped": lambda leg: lightning(leg, True),
}


def main() -> None:
    name, folder, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    shared = files.read_json(folder / "bench.json")
    own = folder / name
    own.mkdir(exist_ok=True)
    settings = files.read_json(folder / "config.json")
    micro_batch, window = shared["micro_batch"], shared["window"]
    RIVALS[name](Leg(own, number, settings, micro_batch, window // micro_batch, shared["peak"]))


if __name__ == "__main__":
    main()
