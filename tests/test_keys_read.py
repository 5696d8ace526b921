"""Every declared key is read somewhere: what a cfg may say and nobody obeys would be told "ok" in silence.

A key that joins EXCEPTIONS needs its reason; one that is read by now has to leave.
"""

import ast
from pathlib import Path

from yolor_cfg.sections import SECTIONS

PACKAGE = Path(__file__).parent.parent / "yolor_cfg"
REASONS = {
    "memory, speed or display of C Darknet alone": "max_chart_loss show_receptive_field use_cuda_graph "
    "optimized_memory workspace_size_limit_MB show_details dets_for_show attention",
    "C Darknet's detectors do not read it in training (classifiers do)": "aspect max_crop min_crop",
    "tracking in C Darknet's demo, which is not here": "track_history_size sim_thresh dets_for_track "
    "track_ciou_norm",
    "C Darknet's layer reads it and never uses it": "reorg absolute",
    "boxes are suppressed by the options of the command, not yet by the cfg": "nms_kind beta_nms",
    "losses that are not trained here": "mask_scale noloss ratio contrastive_neg_max time_normalizer",
    "kernels turned in training: not yet here": "sway rotate stretch stretch_sway",
    "sequences and pairs of views in training: not yet here": "time_steps sequential_subdivisions seq_scales "
    "augment_speed track contrastive_jit_flip contrastive_color unsupervised",
    "training by [net]: not yet here": "dynamic_minibatch loss_scale try_fix_nan weights_reject_freq "
    "equidistant_point badlabels_rejection_percentage num_sigmas_reject_badlabels adversarial_lr",
}
EXCEPTIONS = {key for keys in REASONS.values() for key in keys.split()}


def names_read():
    """All names that the package's code reads as attributes; a declaration is none."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}


def find_unread(sections):
    """The keys that nobody reads."""
    read = names_read()
    return {key for section in sections for key in section.keys if not {key, f"{key}_"} & read}


def test_every_key_is_read_or_has_its_reason():
    assert find_unread(SECTIONS.values()) == EXCEPTIONS


def test_a_key_that_nobody_reads_is_found():
    class Section:
        keys = ("width", "no_such_key_in_the_code")

    assert find_unread([Section]) == {"no_such_key_in_the_code"}


def test_ignored_keys_have_reasons_and_are_not_declared():
    for section in SECTIONS.values():
        assert all(section.ignored_keys.values())
        assert not set(section.ignored_keys) & set(section.keys)
