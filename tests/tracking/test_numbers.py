"""Numbers are shown with the digits that their error supports, and by the names of what they are."""

import pytest

from tracking.numbers import distance_name, headlines, rounded

DEMO = {
    "fid.fd_efficientnet_lite0": 182.7391, "fid.kid_efficientnet_lite0": 0.148123,
    "fid.kid_efficientnet_lite0_standard_error": 0.00417, "fid.class_agreement_efficientnet_lite0": 0.3125,
    "fid.class_agreement_validation_efficientnet_lite0": 0.758, "fid.rfd_efficientnet_lite0": 124.2,
    "fid.precision_efficientnet_lite0": 0.5, "train_dvae.psnr": 19.8437, "sample.images": 1008.0,
    "prepare.validation_images": 380.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.148123, 0.00417, "0.148 ± 0.004"),
        (0.148123, 0.00127, "0.1481 ± 0.0013"),
        (1234.5, 37.0, "1230 ± 40"),
        (19.84, 1.0, "19.8 ± 1.0"),
        (-0.0002, 0.004, "0.000 ± 0.004"),
    ],
)
def test_a_number_has_the_digits_that_its_error_supports(value: float, error: float, text: str) -> None:
    assert rounded(value, error) == text


def test_the_five_that_matter_come_first_and_nothing_is_called_fid_that_is_none() -> None:
    shown = headlines(DEMO, "efficientnet_lite0")
    assert [(one.name, one.text) for one in shown] == [
        ("FD (efficientnet_lite0)", "183"),
        ("KID", "0.148 ± 0.004"),
        ("class agreement", "0.312 ± 0.015"),
        ("rFD", "124"),
        ("reconstruction PSNR", "19.8 dB"),
    ]
    assert shown[2].beside == " (held-out images 0.76 ± 0.02)"
    assert headlines({"fid.fid": 3.4321, "fid.rfid": 0.61}, "inception")[0].name == "FID"


def test_without_classes_other_numbers_take_their_places_and_before_fid_there_are_none() -> None:
    unconditional = {name: value for name, value in DEMO.items() if "class_agreement" not in name}
    assert [one.name for one in headlines(unconditional, "efficientnet_lite0")][-1] == "precision"
    assert headlines({"train_dvae.psnr": 20.0}, "efficientnet_lite0") == []


def test_a_share_of_none_or_all_is_not_without_error() -> None:
    numbers = {"fid.fid": 1.0, "fid.class_agreement": 1.0, "sample.images": 8.0}
    assert headlines(numbers, "inception")[1].text == "1.00 ± 0.12"


def test_the_distance_is_named_by_the_extractor() -> None:
    assert distance_name({"fid.extractor": "inception"}) == "fid.fid"
    assert distance_name({"fid.extractor": "dinov2"}) == "fid.fd_dinov2"
