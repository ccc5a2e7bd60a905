"""Opening and reading: every source gives the same tensors, every broken one its sentence."""

import pytest
from broken.make import CASES
from neuromfa.checkpoint import open_checkpoint
from neuromfa.errors import NeuromfaError


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}{case.opened and '-named'}")
def test_broken_checkpoints_are_refused(case, tmp_path):
    with pytest.raises(NeuromfaError) as refused:
        open_checkpoint(case.write(tmp_path / "c"))
    assert str(refused.value) == case.message(tmp_path / "c")
    assert refused.value.exit_code == case.code
