"""The running service against its own description: schemathesis makes the requests and checks the answers."""

from __future__ import annotations

import io

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.checks import CHECKS, load_all_checks

load_all_checks()
NOT_A_PICTURE = "positive_data_acceptance"  # OpenAPI cannot say which bytes are a picture: 422 answers the others
PATHS = ["/v1/score", "/v1/map", "/v1/models", "/healthz", "/readyz", "/metrics"]

TAKING = ["/v1/score", "/v1/map"]  # the others take nothing that could be wrong


def picture():
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(file, "PNG")
    return file.getvalue()


BODIES = st.one_of(st.just(picture()), st.binary(max_size=200), st.binary(max_size=200).map(picture().__add__))
for kind in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(kind, BODIES)


@pytest.fixture(scope="module")
def described(service):
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json")


RIGHT, WRONG = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


@pytest.mark.parametrize(
    ("path", "mode"), [*((path, RIGHT) for path in PATHS), *((path, WRONG) for path in PATHS if path in TAKING)]
)
def test_the_service_is_as_it_describes_itself(described, path, mode):
    (operation,) = described[path].values()
    seen = []

    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def check(case):
        seen.append(case.call_and_validate(excluded_checks=CHECKS.get_by_names([NOT_A_PICTURE])).status_code)

    check()
    assert seen
    assert 500 not in seen


def test_it_describes_these_paths(described):
    assert {result.ok().path for result in described.get_all_operations()} == set(PATHS)
