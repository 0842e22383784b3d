import pytest
from label_tables import LABELS


@pytest.fixture(params=LABELS)
def label(request):
    return LABELS[request.param]
