"""Sweet spots of units: each from its own metric, of the weights and of their average."""

from __future__ import annotations

import json

from redheart.sweet_spots.choice import SweetSpotOptions
from redheart.sweet_spots.units import find_unit_spots

EPOCHS = [2, 4, 6, 8, 10]
UNITS = {"trunk": ("backbone", "heads.x", "heads.y"), "neural_x": ("neural_x",)}
RAW = SweetSpotOptions(smoothing=1)


def row(metric, loss=1.0, **more):
    return {"val_loss": loss, "val_accuracy": 0.5, "val_metric": metric, **more}


def tables(x, y=(0.5,) * 5, neural=(0.1, 0.2, 0.3, 0.2, 0.1), losses=(1.0,) * 5, ema=None):
    """Metrics of the two heads and of one analyzer, checkpoint by checkpoint."""
    modules = [
        {
            "heads.x": {"x": row(a, train_loss=0.5)},
            "heads.y": {"y": row(b, train_loss=0.5)},
            "neural_x": {"x": row(c, loss, train_loss=0.5)},
        }
        for a, b, c, loss in zip(x, y, neural, losses, strict=True)
    ]
    averages = modules if ema is None else tables(ema)
    return [
        {"epoch": epoch, "modules": one, "modules_ema": other.get("modules", other)}
        for epoch, one, other in zip(EPOCHS, modules, averages, strict=True)
    ]


def chosen(metrics, options=RAW, units=UNITS):
    unit_spots = find_unit_spots(metrics, units, options)
    json.dumps(unit_spots, allow_nan=False)
    return {
        key: {u: spot["epoch"] for u, spot in spots.items()} for key, spots in unit_spots.items()
    }


def test_each_unit_is_chosen_by_its_own_metric_and_the_trunk_by_the_mean_of_its_heads():
    unit_spots = chosen(tables(x=(0.9, 0.6, 0.5, 0.5, 0.5), y=(0.0, 0.5, 0.5, 0.5, 0.5)))
    assert unit_spots["units"] == {"trunk": 4, "neural_x": 6}


def test_averages_have_curves_of_their_own():
    unit_spots = chosen(tables((0.1, 0.2, 0.3, 0.4, 0.5), ema=(0.5, 0.4, 0.3, 0.2, 0.1)))
    assert unit_spots["units"]["trunk"] == 10
    assert unit_spots["units_ema"]["trunk"] == 2


def test_the_order_of_the_tables_does_not_matter():
    metrics = tables((0.1, 0.2, 0.3, 0.4, 0.5))
    assert chosen(metrics[::-1]) == chosen(metrics)


def test_a_unit_whose_metric_says_nothing_is_chosen_by_its_loss():
    falling = (5.0, 4.0, 3.0, 1.0, 2.0)
    for metric in (0.0, None, float("nan")):
        unit_spots = chosen(tables((0.5,) * 5, neural=(metric,) * 5, losses=falling))
        assert unit_spots["units"]["neural_x"] == 8


def test_a_frozen_backbone_has_nothing_to_be_chosen_by():
    units = {"trunk": ("backbone",), **{f"heads.{t}": (f"heads.{t}",) for t in "xy"}}
    unit_spots = chosen(tables((0.1, 0.9, 0.3, 0.4, 0.5)), units=units)
    assert unit_spots["units"] == {"heads.x": 4, "heads.y": 2}


def test_the_selector_of_units_is_a_setting_of_its_own():
    metrics = tables((0.5, 0.899, 0.9, 0.895, 0.9001))
    later, earlier = (
        chosen(metrics, SweetSpotOptions(selector="document", unit_selector=name, smoothing=1))
        for name in ("minimum", "plateau")
    )
    assert later["units"]["trunk"] == 10 > earlier["units"]["trunk"]


def test_one_checkpoint_is_the_sweet_spot_of_all():
    unit_spots = chosen(tables((0.5,) * 5)[:1], SweetSpotOptions())
    assert set(unit_spots["units"].values()) == {2}


def test_without_averages_units_of_weights_alone_are_chosen():
    metrics = tables((0.1, 0.2, 0.3, 0.4, 0.5))
    expected = chosen(metrics)["units"]
    without = [
        {key: v for key, v in checkpoint.items() if key != "modules_ema"} for checkpoint in metrics
    ]
    assert chosen(without) == {"units": expected}
