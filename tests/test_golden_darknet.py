"""C Darknet's numbers: 118 one-section cases and 41 real networks."""

import golden
import pytest

MICRO = golden.micro_cases()
NETWORKS = golden.darknet_cases()


def test_the_cases_are_all_there(shared):
    assert (len(MICRO), len(NETWORKS)) == (118, 41)


@pytest.mark.parametrize("case", MICRO, ids=lambda case: case.name)
def test_a_section_computes_what_c_darknet_computes(case):
    golden.check_darknet(case)


@pytest.mark.parametrize("case", NETWORKS, ids=lambda case: case.name)
def test_a_network_computes_what_c_darknet_computes(case):
    golden.check_darknet(case)
