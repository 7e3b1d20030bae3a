"""The real packages, brought by this machine's own managers, give the datasets under which results are published.

These tests need a network. Few and small ones run in every suite: both Python packages together are 2 MB.
"""

import pytest

from orchestrator.datasets.embedded import build_embedded
from orchestrator.datasets.fetch import fetch
from orchestrator.datasets.lock import read_lock
from orchestrator.datasets.recipes import RECIPES
from orchestrator.datasets.recipes.choosing import content_key
from protocol.methodology.dataset import dataset_digest, shares_in_thirds
from protocol.methodology.tasks import REGISTRY

# Digest of the points, of the warm-up points and of the pool: a change of them is a new dataset and needs a new name.
PUBLISHED = {
    "aies-prompts": (
        "3e504829d57e3c8d6d6967bd9d17269e9a18838f8035f2e202c6ef4f02f42718",
        "d50df3417f908bd95e617b496a01aa5eb2c007aaabf33f616521cf2af5cdb871",
        "787b88487e7f8133d83312c29570a6c38836de20c5deb5a147b60c3fd4c53251",
    ),
    "embedded-abstracts": (
        "8d8a802a497c39e6d98734315caabaec94fd474726c954cc31eea555b7530bbe",
        "5f1169bf235db83cd5d15c1d3042b3cb00eae6fd48b808fd275eb5033411aafb",
        "42438b65c9255fcb9140c56381bc34e09a23b94b28345e94d0af95b11990d0d6",
    ),
    "embedded-digit-prompts": (
        "43f6fc5d4a6ca74c1d8de2e8d1519669715340ef120bb90048a975a6a72c6a5a",
        "d5f592ed8185742dcec0d2608c33cb54888aede3915d530125911eb849234b49",
        "24ad866e61637865cf93c0921b469ac93408d6917718af2811dda92d468064aa",
    ),
    "embedded-foldoc": (
        "53d6585ed52ffc9f049fa93494c1cb15bc8451c88b85e8aa37b9bd3ab606809a",
        "b967eb7ff5a9abe84a24611559fe1eba7a6012cb9e8a389ec181a16e12a14dc1",
        "0fc6a51fb49224093e1668d2274ae66f8a7aec08da1e2c97f9b74a9d020c30a4",
    ),
    "embedded-photos": (
        "63ebcb5f507066a622145d52435537edef29ed00c6ef5d68d6247085db90bdee",
        "868cd21d7a97edd5adb39ab83eea785499bb65c175037f3fa9c43448eca5302a",
        "787b88487e7f8133d83312c29570a6c38836de20c5deb5a147b60c3fd4c53251",
    ),
    "embedded-scenes": (
        "d988b770d0949dcd8fb3c34c8f691fa7cb87988b03dab07f4b871ffb80258a93",
        "44b1c850ded4ee99fab627ddb3c6d32643e743a84753c6e727aa99dd6ac22379",
        "61f2e397e5e82f63cdac6ee56293b88914deadfc5f88dc35a1d887cf98b955f8",
    ),
    "embedded-similarity": (
        "5c1ba779fd00722ffd76ab12682ca7aeb8f0c05230aa43bbea0cd5ec5dc39760",
        "1d14b30979cba13bfa80e34430a50aeed80f95555b4183ef9286ceb167a7a311",
        "c4cced8a44b1b15bf0ef5e058f6958aa3cebc22a0c8cd5d93cd57c5f1892d84f",
    ),
    "embedded-speech": (
        "2c89ce37890c5fdf46977e46f2c1295a3fc1fa6459c52805410b60d69f54a457",
        "214af559ad5f0e51e19e17992c1f8ee03243a2523c07d6a72ad28ef1ab11f420",
        "602ebb431cc9ef0f22ca5dfcb1e56ba260c48192b0b55b44e91f5e35605ffbd1",
    ),
    "gsm8k": (
        "b49af0844647bc3d79f91931370acbd1fec128d4ba16f7dfc0c4a01e2234a0b4",
        "aa68661bb516b4a4d09b9161f52f03dcae07de49ef5e501af2b7ba2f476a2a39",
        "e3f4dd5436c4c7d57c955924fc2e95c06d4b8d945fa60ed35bb8ef3d6d3436ae",
    ),
}
SMALL = ("aies-prompts", "gsm8k")


def digests(made):
    return tuple(dataset_digest(part) for part in (made.points, made.warm_up, made.pool))


@pytest.mark.parametrize("name", SMALL)
def test_two_fresh_caches_give_the_same_dataset(name, tmp_path):
    first, second = (build_embedded(name, tmp_path / cache) for cache in ("one", "two"))
    assert first == second
    assert digests(first) == PUBLISHED[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_gives_its_published_dataset_from_a_fresh_cache(name, tmp_path):
    made = build_embedded(name, tmp_path)
    assert digests(made) == PUBLISHED[name]
    every = [*made.points, *made.warm_up, *made.pool]
    if name != "aies-prompts":  # which is kept as it was published
        assert len({content_key(point.input) for point in every}) == len(every)
    assert len({point.point_id for point in every}) == len(every)
    assert all(point.input.kind in REGISTRY[made.facts.task].inputs for point in every)
    assert shares_in_thirds(made.facts.sources) == (name == "embedded-similarity")
    assert set(made.facts.attribution) == set(made.facts.sources)
    assert made.facts.note


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(read_lock()))
def test_every_locked_package_can_be_brought_here(name, tmp_path):
    members = fetch(name, tmp_path)
    assert all(members.path(path).is_file() for path in members)


def test_what_is_published_is_what_can_be_built():
    assert set(PUBLISHED) == set(RECIPES)
