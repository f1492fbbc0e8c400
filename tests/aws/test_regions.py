"""Mistyped Regions are refused at start; new ones, and those of other engines, are not."""

import pytest

from app.aws import regions
from app.platform.settings import SettingsError
from tests.support.service import test_settings


@pytest.mark.parametrize(
    ("region", "meant"),
    [("eu-centrl-1", "eu-central-1"), ("us-est-1", "us-east-1"), ("eu-central1", "eu-central-1")],
)
def test_a_mistyped_one_is_refused_with_what_was_meant(region: str, meant: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        regions.refuse_mistyped(test_settings(AWS_REGION=region))
    assert str(refusal.value).startswith(f"AWS_REGION: AWS has no Region {region}; did you mean ")
    assert meant in str(refusal.value)


@pytest.mark.parametrize("region", ["eu-central-9", "us-gov-west-1", "eusc-de-east-1", "auto", "garage"])
def test_new_ones_and_other_names_pass(region: str) -> None:
    regions.refuse_mistyped(test_settings(AWS_REGION=region))


def test_another_engine_names_its_own() -> None:
    regions.refuse_mistyped(test_settings(AWS_REGION="eu-centrl-1", s3_endpoint_url="http://127.0.0.1:1"))


def test_of_sts_are_looked_at_too() -> None:
    with pytest.raises(SettingsError, match="TOKENVEND_STS_REGIONS: AWS has no Region us-wst-2"):
        regions.refuse_mistyped(test_settings(sts_regions="us-east-1,us-wst-2"))


def test_the_form_of_names_is_that_of_the_sdks_list() -> None:
    assert [region for region in regions.known() if not regions.LIKE_ONE.fullmatch(region)] == []
