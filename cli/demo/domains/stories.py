"""Openings of children's stories, to be continued."""

from __future__ import annotations

import random

from cli.demo.grammar import fill, vocabulary

MAX_TOKENS = 96

_WORDS = vocabulary(
    """
    name: Nora | Felix | Greta | Otis | Ivy | Rufus | Hazel | Theo | Wanda | Jasper | Pippa | Bruno | Cleo
        | Milo | Edith | Hugo | Opal | Linus | Freya | Dexter | Maeve | Arlo | Tilda | Casper | Juno
        | Barney | Olive | Silas | Romy | Walter | Elsa | Monty | Vera | Gus | Petra | Ned | Saskia | Alfie
        | Dora | Emil
    child: a little girl | a little boy | a curious girl | a shy boy | a brave girl | a quiet boy
        | a young prince
    animal: fox | hedgehog | otter | badger | squirrel | goose | pony | turtle | mole | lamb | raccoon
        | beaver | puppy | kitten | sparrow | snail | donkey | piglet | hamster | crow | ladybug | seal
        | deer | frog
    trait: tiny | sleepy | clumsy | brave | grumpy | gentle | noisy | spotted | fluffy | clever | lonely
        | playful | hungry | proud | nervous | kind | muddy | old
    place: the barn | the river | the bakery | the garden | the lighthouse | the market | the hill
        | the library | the beach | the pond | the train station | the orchard | the school | the forest
        | the old mill | the playground | the bridge | the farm
    thing: kite | drum | lantern | wagon | scarf | button | whistle | map | basket | umbrella | bell
        | puzzle | boat | mirror | pencil | hat | robot | balloon | shell | key | pillow | teapot
    colour: red | blue | yellow | green | purple | orange | silver | golden | pink | white | striped
    food: pancakes | soup | berries | cookies | apples | pumpkin pie | noodles | honey | warm bread | plums
        | carrots
    time: One windy morning | One rainy day | One sunny afternoon | Late one evening | On a cold winter day
        | On the first day of spring | One quiet Sunday | Early one morning | One foggy day
        | After lunch one day | On a warm summer night
    deed: paint | sing | bake | climb trees | build towers | collect stones | dance | play hide and seek
        | count the stars | ride a bicycle | tell jokes | plant flowers | jump in puddles | fly kites
        | draw pictures | help others
    feeling: sad | excited | worried | surprised | proud | angry | happy | scared | tired | curious
    weather: It was raining | The sun was shining | The wind was strong | Snow was falling | It was very hot
        | It was dark
    kin: {whose} mom | {whose} dad | {whose} grandma | {whose} grandpa | {whose} big sister
        | {whose} little brother | {whose} best friend | {whose} uncle | {whose} neighbour | {whose} teacher
    whose: his | her
    opening:
        | {time}, {name} found a {colour} {thing} near {place}.
        | {time}, {name} and a {trait} {animal} walked to {place}.
        | {time}, a {trait} {animal} sat by {place} and felt {feeling}.
        | {time}, {name} went to {place} to look for a {colour} {thing}.
        | {time}, {name} wanted to {deed} near {place}.
        | {time}, the {trait} {animal} lost a {colour} {thing}.
        | Once there was a {trait} {animal} who loved to {deed}.
        | Once there was a {trait} {animal} named {name} who lived near {place}.
        | Once upon a time, {child} named {name} had a {colour} {thing}.
        | Once upon a time, a {trait} {animal} and a {trait2} {animal2} wanted to {deed}.
        | Once upon a time, {child} named {name} liked to {deed} near {place}.
        | There was {child} named {name}. {weather}, and {name} felt {feeling}.
        | {name} was {feeling} because the {colour} {thing} was gone.
        | {name} had a pet {animal} that liked {food}.
        | {name} and {name2} were best friends. {time}, they went to {place}.
        | {weather}. {name} was at {place} with {kin} and a {trait} {animal}.
        | The {trait} {animal} had never seen {place} before.
        | "Can we make {food} today?" {name} asked {kin}.
        | "Look at that {colour} {thing}!" said {name} to the {trait} {animal}.
        | Every day, {name} walked past {place} and waved at a {trait} {animal}.
        | {name} got a {colour} {thing} from {kin} and wanted to {deed}.
        | In a house near {place} lived a {trait} {animal} who only ate {food}.
    """
)


def write(rng: random.Random) -> list[str]:
    """One user turn."""
    return [fill("Continue this story: {opening}", _WORDS, rng)]
