"""Plankton: the National Data Science Bowl (Kaggle, 2015), images of the In Situ Ichthyoplankton Imaging System.

    train/<class>/<id>.jpg                 the competition's labelled folder; it names no split
    train/<class>/..., test/<class>/...    a set that somebody has split

Facts: 30,336 labelled grey JPEG images in 121 unbalanced classes, every image its own size (about 20 to 400 pixels a
side), a white background, orientation at random. The competition's own `test/` has no labels and is passed over.
Split of the paper "CNN features with random forests and SVMs" (section III): 25,000 / 1,500 / 3,800 of 30,300, kept
here as proportions per class. Licence: the competition's rules, research use; the data is from the Hatfield Marine
Science Center, Oregon State University (Cowen, Sponaugle, Robinson, Luo: PlanktonSet 1.0, NOAA accession 0127422).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from drillcore.datasets.base import TEST, TRAIN, VAL, DatasetLayout, FoundItem
from drillcore.datasets.layouts.class_folders import find_class_folders

# The competition's classes. A source may have fewer or others (the synthetic sample does): a model's classes are the
# sorted labels of the data it was trained on.
_NAMES = """
acantharia_protist acantharia_protist_big_center acantharia_protist_halo amphipods appendicularian_fritillaridae
appendicularian_s_shape appendicularian_slight_curve appendicularian_straight artifacts artifacts_edge
chaetognath_non_sagitta chaetognath_other chaetognath_sagitta chordate_type1 copepod_calanoid copepod_calanoid_eggs
copepod_calanoid_eucalanus copepod_calanoid_flatheads copepod_calanoid_frillyAntennae copepod_calanoid_large
copepod_calanoid_large_side_antennatucked copepod_calanoid_octomoms copepod_calanoid_small_longantennae
copepod_cyclopoid_copilia copepod_cyclopoid_oithona copepod_cyclopoid_oithona_eggs copepod_other crustacean_other
ctenophore_cestid ctenophore_cydippid_no_tentacles ctenophore_cydippid_tentacles ctenophore_lobate decapods
detritus_blob detritus_filamentous detritus_other diatom_chain_string diatom_chain_tube
echinoderm_larva_pluteus_brittlestar echinoderm_larva_pluteus_early echinoderm_larva_pluteus_typeC
echinoderm_larva_pluteus_urchin echinoderm_larva_seastar_bipinnaria echinoderm_larva_seastar_brachiolaria
echinoderm_seacucumber_auricularia_larva echinopluteus ephyra euphausiids euphausiids_young fecal_pellet
fish_larvae_deep_body fish_larvae_leptocephali fish_larvae_medium_body fish_larvae_myctophids fish_larvae_thin_body
fish_larvae_very_thin_body heteropod hydromedusae_aglaura hydromedusae_bell_and_tentacles hydromedusae_h15
hydromedusae_haliscera hydromedusae_haliscera_small_sideview hydromedusae_liriope hydromedusae_narco_dark
hydromedusae_narco_young hydromedusae_narcomedusae hydromedusae_other hydromedusae_partial_dark hydromedusae_shapeA
hydromedusae_shapeA_sideview_small hydromedusae_shapeB hydromedusae_sideview_big hydromedusae_solmaris
hydromedusae_solmundella hydromedusae_typeD hydromedusae_typeD_bell_and_tentacles hydromedusae_typeE
hydromedusae_typeF invertebrate_larvae_other_A invertebrate_larvae_other_B jellies_tentacles polychaete
protist_dark_center protist_fuzzy_olive protist_noctiluca protist_other protist_star pteropod_butterfly
pteropod_theco_dev_seq pteropod_triangle radiolarian_chain radiolarian_colony shrimp-like_other shrimp_caridean
shrimp_sergestidae shrimp_zoea siphonophore_calycophoran_abylidae siphonophore_calycophoran_rocketship_adult
siphonophore_calycophoran_rocketship_young siphonophore_calycophoran_sphaeronectes
siphonophore_calycophoran_sphaeronectes_stem siphonophore_calycophoran_sphaeronectes_young siphonophore_other_parts
siphonophore_partial siphonophore_physonect siphonophore_physonect_young stomatopod tornaria_acorn_worm_larvae
trichodesmium_bowtie trichodesmium_multiple trichodesmium_puff trichodesmium_tuft trochophore_larvae tunicate_doliolid
tunicate_doliolid_nurse tunicate_partial tunicate_salp tunicate_salp_chains unknown_blobs_and_smudges unknown_sticks
unknown_unclassified
"""
PUBLISHED_CLASSES: tuple[str, ...] = tuple(_NAMES.split())
_PAPER = {TRAIN: 25_000, VAL: 1_500, TEST: 3_800}


class PlanktonLayout(DatasetLayout):
    """The competition's folder, or one that somebody has split."""

    name = "plankton"
    task = "classification"
    channels = 1
    fractions: ClassVar[Mapping[str, float]] = {split: count / sum(_PAPER.values()) for split, count in _PAPER.items()}

    def items(self, source: Path) -> list[FoundItem]:
        """Return every labelled image, sorted by stored path. Raises LayoutError."""
        return find_class_folders(source, unlabelled_splits=True)
