"""Image classification: photographs of things, cut out, whose class among the 1,000 of ImageNet is beyond doubt.

Rules:
1. A picture is the package's own PNG file, byte for byte, transparent around the thing. Drawings are left out, and so
   are things of which ImageNet's classes name several kinds that the photograph does not tell apart.
2. The reference is the WordNet id of the class, as ImageNet-1k has it (n02129604 is the tiger): names are not unique
   there, ids are. Which photograph shows which class was judged by eye and stands in CLASSES.
3. There are too few photographs for a pool. Warm-up points are photographs of things that ImageNet-1k does not name.
"""

from __future__ import annotations

from orchestrator.datasets.recipe import Built, Members, Recipe
from orchestrator.datasets.recipes.choosing import About, built
from protocol.methodology.tasks import Task
from protocol.samples import ImageInput, Point

NAME = "embedded-photos"
STAMPS = "usr/share/tuxpaint/stamps"
CLASSES = dict(
    line.split()
    for line in """
    animals/birds/crowned_crane n02012849
    animals/birds/drake n01847000
    animals/birds/duck n01847000
    animals/birds/gander n01855672
    animals/birds/hen n01514859
    animals/birds/magpie n01582220
    animals/birds/ostrich n01518878
    animals/birds/peacock n01806143
    animals/birds/pelican n02051845
    animals/birds/penguin n02056570
    animals/birds/pink_flamingo n02007558
    animals/birds/rainbow-lorikeet n01820546
    animals/birds/rooster n01514668
    animals/birds/tucan n01843383
    animals/birds/vulture n01616318
    animals/fish/clownfish n02607072
    animals/fish/lionfish n02643566
    animals/fish/lobster n01984695
    animals/insects/Brown_slug n01945685
    animals/insects/Woodlouse n01990800
    animals/insects/grasshopper n02226429
    animals/insects/mantis n02236044
    animals/lizards/iguana n01677366
    animals/mammals/apes/chimp n02481823
    animals/mammals/apes/gorilla n02480855
    animals/mammals/aquatic/orca n02071294
    animals/mammals/aquatic/otter n02444819
    animals/mammals/aquatic/sea_lion n02077923
    animals/mammals/badger n02447366
    animals/mammals/bears/bear n02133161
    animals/mammals/bears/european-bear n02132136
    animals/mammals/bears/toys/edward_bear n04399382
    animals/mammals/bovines/bison n02410509
    animals/mammals/bovines/ram n02412080
    animals/mammals/camel/camel n02437312
    animals/mammals/camel/dromedary n02437312
    animals/mammals/cats/lion n02129165
    animals/mammals/cats/lion-2 n02129165
    animals/mammals/cats/tiger n02129604
    animals/mammals/cats/tiger_sumatran n02129604
    animals/mammals/dogs/dingo n02115641
    animals/mammals/dogs/fox n02119022
    animals/mammals/elephant n02504458
    animals/mammals/equines/horse n02389026
    animals/mammals/equines/zebra n02391049
    animals/mammals/ferret n02443484
    animals/mammals/hippopotamus n02398521
    animals/mammals/pig n02395406
    animals/mammals/pig_golden n02395406
    animals/mammals/pig_golden2 n02395406
    animals/mammals/rodents/beaver n02363005
    animals/mammals/rodents/marmot n02361337
    animals/mammals/rodents/squirrel n02356798
    animals/mammals/wildboar n02396427
    animals/marsupials/koala n01882714
    animals/marsupials/wombat n01883070
    food/fruit/Strawberry2 n07745940
    food/fruit/apple_granny_smith n07742313
    food/fruit/apple_green n07742313
    food/fruit/banana n07753592
    food/fruit/lemon n07749582
    food/fruit/orange n07747607
    food/fruit/orange_seville n07747607
    food/fruit/pineapple n07753275
    food/fruit/pomegranate n07768694
    food/fruit/sliced_orange n07747607
    food/fruit/strawberry n07745940
    food/vegetables/broccoli n07714990
    food/vegetables/corn n12144580
    food/vegetables/mushroom n07734744
    food/vegetables/pepper n07720875
    food/vegetables/yellowpepper n07720875
    hobbies/binoculars n02841315
    hobbies/camera_35mm n04069434
    hobbies/music/brass/trumpet n03110669
    hobbies/music/percussion/drum_tomtom_floor n03249569
    hobbies/music/string/cello n02992211
    hobbies/music/string/guitar2 n03272010
    hobbies/music/string/guitar_classical n02676566
    hobbies/music/string/guitar_electric n03272010
    hobbies/music/string/violin n04536866
    hobbies/music/wind/bassoon n02804610
    household/dishes/mug n03063599
    household/dishes/pitcher_small n03950228
    household/dishes/teapot n04398044
    household/garbagecan n02747177
    household/toilet n04447861
    household/tools/hammer n03481172
    household/tools/paintbrush_large n03876231
    household/tools/spade n04208210
    household/wheelie_bin n02747177
    medical/stethoscope n04317175
    medical/syringe n04376876
    military/vehicles/bradley n04389033
    military/vehicles/f22_raptor n04552348
    plants/mushrooms/cep n13054560
    plants/mushrooms/cep-1 n13054560
    plants/mushrooms/cep-2 n13054560
    seasonal/candle n02948072
    sports/basketball n02802426
    sports/soccer n04254680
    sports/tennis_ball n04409515
    sports/tennis_racket n04039381
    town/usps_mailbox n03710193
    vehicles/auto/sportscar2 n03100240
    vehicles/auto/truck n03930630
    vehicles/cycle/pink_tricycle n04482393
    vehicles/emergency/firetruck n03345487
    vehicles/flight/balloon360 n02782093
    vehicles/flight/planes/747 n02690373
    vehicles/garbagetruck n03417042
    vehicles/race/indycar n04037443
    """.strip().split("\n")
)
"""The WordNet id of every photograph's class, by its path."""
OTHERS = """
    animals/mammals/bovines/goat
    animals/mammals/equines/donkey
    plants/flowers/rose
    plants/flowers/iris
    food/fruit/pear
    food/vegetables/tomato
    food/fruit/mango
    animals/mammals/bovines/yak
    animals/mammals/deer/deer
    household/kettle
    food/vegetables/onion
    plants/flowers/marigold
    plants/trees/birch
    food/nuts/walnut
    food/fruit/kiwi
    animals/birds/pigeon
""".split()
ABOUT = About(
    name=NAME,
    task=Task.IMAGE_CLASSIFICATION,
    licence="GPL-2.0-or-later",
    note="112 photographs of things cut out of their surroundings, from one source, labelled by this project with "
    "classes of ImageNet-1k: far fewer than 1,000 points, no thirds, no room for a private shard, never certifiable",
    attribution={
        "tuxpaint": "Tux Paint stamps, Bill Kendrick and contributors (GPL-2.0-or-later), as packaged in Debian's "
        "tuxpaint-stamps-default 2022.06.04-1"
    },
)


def build(members: Members) -> Built:
    """Return every labelled photograph, and others without a label to warm up with."""
    stamps = members["tuxpaint-stamps-default"]
    points = [_point(stamps[f"{STAMPS}/{path}.png"], path, label) for path, label in CLASSES.items()]
    return built(ABOUT, points, [_point(stamps[f"{STAMPS}/{path}.png"], path, None) for path in OTHERS], [])


def _point(content: bytes, path: str, label: str | None) -> Point:
    picture = ImageInput(content=content)
    point_id = f"tuxpaint-{path.replace('/', '-').casefold()}"
    return Point(index=0, point_id=point_id, source="tuxpaint", input=picture, reference=label)


RECIPE = Recipe(name=NAME, task=Task.IMAGE_CLASSIFICATION, packages=("tuxpaint-stamps-default",), build=build)
