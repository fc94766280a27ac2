"""The label-next flow: which images of a folder a person should label, on a schedule or when a model has drifted."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from drillcore.analysis.labelling.kept import choice_folder
from drillcore.analysis.labelling.label_next import label_next as choose
from drillcore.json_types import Json
from drillcore.pages.images_to_label import write_label_next
from drillcore.runtime.model.reference import parse_reference
from drillcore.settings import Settings
from drillcore_pipelines.failing import step, told_flow
from drillcore_pipelines.running import RETRY_SECONDS, Summary, end, gpu_slot, may_pass, prepared, say
from drillcore_pipelines.score import INBOX


@task(
    name="choose-images",
    description="rank unlabelled images by the model's doubt and by what is labelled already",
    retries=1,
    retry_delay_seconds=RETRY_SECONDS[0],
    retry_condition_fn=may_pass,
    timeout_seconds=6 * 3600,
    cache_policy=NO_CACHE,  # the folder is what is asked
    persist_result=False,
)
@step
def choose_images(settings: Settings, reference: str, folder: Path, count: int) -> Json:
    """Return what was chosen, with `page`, where it can be seen."""
    found = choose(settings, reference, folder, count)
    page = choice_folder(settings, found.parts.version.model)
    write_label_next(settings, found, page)
    say(f"choose-images: {len(found.chosen):,} of {found.images:,} images, {len(found.left_out):,} left out")
    return {**found.to_dict(), "page": str(page / "index.html")}


@told_flow("model")
def label_next(model: str, folder: str = "", count: int = 100) -> Summary:
    """Choose COUNT images of FOLDER that MODEL[@ALIAS|@VERSION] would learn most from.

    Args:
        model: a classifier's name or reference.
        folder: of unlabelled images; "": the inbox `.drillcore/inbox/<model>`.
        count: how many.

    Returns:
        as JSON: `status` is "chosen", or "unchanged" where there is no inbox.

    Raises:
        InputError: no image in a folder could be asked for.
    """
    settings = prepared()
    name = parse_reference(model).name
    place = Path(folder) if folder else settings.state / INBOX / name
    if not folder and not place.is_dir():
        return end({"model": name, "status": "unchanged", "reason": f"nothing waits in {place}"})
    with gpu_slot(settings):
        found = choose_images(settings, model, place, count)
    reason = f"{len(found['chosen']):,} of {found['images']:,} images to label: {found['page']}"
    return end({**found, "status": "chosen", "reason": reason})
