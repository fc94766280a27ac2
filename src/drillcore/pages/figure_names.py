"""What the figures are called for people, and whether more of one is better."""

from __future__ import annotations

from drillcore.pages.html import Html, element

# figure: (name for people, +1 more is better or -1 less is, format)
FIGURES: dict[str, tuple[str, int, str]] = {
    "accuracy": ("Accuracy", 1, ".4f"),
    "top5_accuracy": ("Top-5 accuracy", 1, ".4f"),
    "macro_f1": ("Macro F1", 1, ".4f"),
    "log_loss": ("Log loss", -1, ".4f"),
    "expected_calibration_error": ("Calibration error", -1, ".4f"),
    "coverage": ("Share answered", 1, ".4f"),
    "answered_accuracy": ("Accuracy of the answered", 1, ".4f"),
    "mean_average_precision": ("Mean average precision", 1, ".4f"),
    "mean_average_precision_11": ("The same by 11 points", 1, ".4f"),
    "class_average": ("Class average", 1, ".4f"),
    "global_average": ("Global average", 1, ".4f"),
    "mean_iou": ("Mean IoU", 1, ".4f"),
    "ship_iou": ("Ship IoU", 1, ".4f"),
    "ship_f1": ("Ship F1", 1, ".4f"),
    "average_precision": ("Average precision", 1, ".4f"),
    "mean_squared_error": ("Mean squared error", -1, ".5f"),
    "psnr": ("Signal to noise, dB", 1, ".2f"),
    "ships_missed": ("Ships missed", -1, ".0f"),
    "small_ships_missed": ("Small ships missed", -1, ".0f"),
    "false_blobs": ("False blobs", -1, ".0f"),
    "halo_pixels": ("Halo pixels", -1, ".0f"),
    "covering": ("Covering", 1, ".4f"),
    "covering_ods": ("Covering, one scale for all", 1, ".4f"),
    "covering_ois": ("Covering, best scale of each", 1, ".4f"),
    "segmentation_iou": ("IoU of segments", 1, ".4f"),
    "probabilistic_rand_ods": ("Probabilistic Rand index", 1, ".4f"),
    "variation_of_information_ods": ("Variation of information", -1, ".4f"),
    "ms": ("Time per image, ms", -1, ".2f"),
    "mb": ("Size in MB", -1, ".2f"),
}
# What a report opens with, where the version has it.
TILES = (
    "accuracy",
    "coverage",
    "answered_accuracy",
    "macro_f1",
    "log_loss",
    "expected_calibration_error",
    "mean_average_precision",
    "class_average",
    "global_average",
    "mean_iou",
    "ship_iou",
    "mean_squared_error",
    "psnr",
    "covering",
    "ms",
    "mb",
)
SHORT = {"ms": "ms per image", "mb": "MB on disk"}


def change(name: str, value: float, other: float) -> Html:
    """Return the difference of a figure with a sign, in words for those who do not see colours."""
    _, sign, form = FIGURES.get(name, ("", 1, ".4f"))
    difference = value - other
    if abs(difference) < 0.5 * 10.0 ** -int(form[1]):
        return element("span", "same")
    better = difference * sign > 0
    word = "better" if better else "worse"
    return element("span", f"{difference:+{form}} {word}", class_="good" if better else "bad")
