"""A table's columns and a question about it, to be answered with a query."""

from __future__ import annotations

import random
from dataclasses import dataclass

from cli.demo.grammar import fill, vocabulary

MAX_TOKENS = 48

_WORDS = vocabulary(
    """
    club: Harbour City | Red Falcons | Northgate | Lakeside United | Iron Wolves | Eastbrook | River Kings
        | Stonebridge | Blue Comets | Old Mill Rovers | Granite Bay | Westport Town
    person: Marta Olsen | Victor Hale | Ines Duarte | Paul Rennick | Yara Haddad | Colin Frost | Bela Kovacs
        | Rosa Imber | Henk de Wit | Tessa Lang | Omar Nasser | Greg Polanski | Liv Sandberg | Anton Reuter
        | Dina Kessler | Juan Ferro
    land: Norway | Brazil | Kenya | Japan | Canada | Portugal | Hungary | Chile | Finland | Morocco
        | Ireland | Vietnam | Greece | Peru | Estonia
    """
)

_TABLES = """
    home_team: {club}
    away_team: {club}
    score: 2–1 | 0–0 | 3–2 | 1–4 | 5–3 | 2–2 | 0–1 | 4–0
    venue: Memorial Park | Victoria Ground | Central Arena | West Field | Hill Road
    attendance: 1200 to 42000 by 350
    week: 1 to 17

    driver: {person}
    team: {club}
    constructor: Falcone | Breda | Marlow | Sato-Vega | Orbis | Kestrel
    time_retired: +1 lap | engine | collision | gearbox | +2 laps | suspension
    laps: 12 to 78
    grid: 1 to 24

    title: The Long Way | Paper Boats | Second Sight | Cold Harbour | Open Doors | The Visitor | Night Train
        | Old Friends
    directed_by: {person}
    written_by: {person}
    episode: 1 to 26
    season: 1 to 12
    viewers: 3 to 18

    nation: {land}
    host: {land}
    gold: 0 to 16
    silver: 0 to 16
    bronze: 0 to 18
    total: 1 to 45

    player: {person}
    position: guard | forward | center | goalkeeper | midfielder | pitcher
    school: Ashford | Bellmont | Carver | Delmar | Eastlake | Fairview | Granger
    pick: 1 to 60
    round: 1 to 9
    height: 165 to 214

    candidate: {person}
    party: Liberal | Conservative | Green | Labour | Independent | Unity
    district: North 1 | North 4 | South 2 | East 3 | West 5 | Central 6
    result: elected | re-elected | lost | retired
    votes: 800 to 64000 by 430
    first_elected: 1948 to 2012

    album: Glass Rivers | Slow Motion | Eleven | Bright Lights | Homecoming | Echo Park | Winter Songs
    artist: The Lanterns | Mira Vale | Copper Sun | Dial Nine | Hollow Pines
    label: Anchor | Bluebell | Tonic | Parlour | Grove
    year: 1961 to 2016
    peak_position: 1 to 100

    city: Valdorf | Port Elin | Kirkhaven | Old Ferry | Monte Alto | Grimsund | Santa Luz
    country: {land}
    mayor: {person}
    population: 4000 to 910000 by 7300
    area: 14 to 960
    elevation: 2 to 2900 by 11

    airline: Polar Air | Sunwing | Transocean | Bluebird | Meridian
    destination: Oslo | Lima | Tunis | Perth | Quito | Riga
    aircraft: A320 | B737 | E190 | ATR 72 | CRJ900
    passengers: 42 to 420
    distance: 180 to 9900 by 37

    model: X200 | Vega S | T90 | Comet 4 | LX-7 | Alto | R12 Sport
    engine: 1.4 L | 2.0 L | 3.0 L V6 | 1.6 L turbo | electric
    transmission: manual | automatic | 6-speed | CVT
    power: 60 to 420 by 5
    top_speed: 120 to 330 by 3

    ship: Aurora | Resolute | Sea Otter | Endeavour | Valiant | Petrel
    builder: Holm Yard | Clyde Works | Nordvik | Bay Docks
    fate: scrapped | sunk | museum | sold | wrecked
    launched: 1872 to 1968
    tonnage: 340 to 46000 by 410

    winner: {person}
    runner_up: {person}
    tournament: Spring Open | Lake Classic | Coast Masters | City Cup
    surface: clay | grass | hard | carpet
    year: 1970 to 2015
    prize_money: 5000 to 240000 by 2500

    station: KVLM | WRTN | KBAY | WNOR | KPEL
    city_of_license: Ashland | Brookport | Cedar Falls | Dover | Elkton
    network: Public One | Metro | Faith | Rural Net
    frequency: 88 to 108
    channel: 2 to 51

    species: grey heron | river otter | brown bear | red kite | marsh frog | field mouse
    habitat: forest | wetland | meadow | coast
    status: common | rare | protected | extinct
    weight: 1 to 420
    lifespan: 2 to 80
"""

_TEXT_QUESTIONS = (
    "What is the {target} when the {where} is {value}?",
    "Which {target} has a {where} of {value}?",
    "What {target} has {value} as the {where}?",
    "Name the {target} for {value}",
    "What is the {target} with a {number} of {count}?",
    "Which {target} has a {number} of more than {count}?",
    "Which {target} has a {number} smaller than {count} and a {where} of {value}?",
    "What is the {target} with a {where} of {value} and a {number} of {count}?",
    "What was the {target} for the {where} {value} and a {number} larger than {count}?",
    "How many {target} entries are there for {value}?",
)
_NUMBER_QUESTIONS = (
    "What is the highest {target} when the {where} is {value}?",
    "What is the lowest {target} for {value}?",
    "What is the average {target} with a {where} of {value}?",
    "What is the total number of {target} for the {where} of {value}?",
    "What is the {target} when {value} is the {where}?",
    "What is the sum of {target} for {value} when the {number} is more than {count}?",
    "What is the smallest {target} with a {where} of {value} and a {number} less than {count}?",
    "Which {target} has a {where} of {value} and a {number} of {count}?",
)


@dataclass(frozen=True)
class _Column:
    """A column of a table and what may stand in it."""

    name: str
    values: tuple[str, ...]

    @property
    def numeric(self) -> bool:
        return self.values[0].isdigit()

    @property
    def noun(self) -> str:
        """What a question calls it."""
        return self.name.replace("_", " ")


def _tables() -> list[list[_Column]]:
    parsed = (vocabulary(table) for table in _TABLES.split("\n\n"))
    return [[_Column(name, values) for name, values in columns.items()] for columns in parsed]


_COLUMNS = _tables()


def write(rng: random.Random) -> list[str]:
    """One user turn: the columns the question needs and up to three others, then the question."""
    table = rng.choice(_COLUMNS)
    target = rng.choice(table)
    others = [column for column in table if column is not target]
    where = rng.choice([column for column in others if not column.numeric])
    number = rng.choice([column for column in others if column.numeric])
    question = rng.choice(_NUMBER_QUESTIONS if target.numeric else _TEXT_QUESTIONS).format(
        target=target.noun,
        where=where.noun,
        value=rng.choice(where.values),
        number=number.noun,
        count=rng.choice(number.values),
    )
    shown = {column.name for column in (target, where, number, *rng.sample(table, rng.randint(0, 3)))}
    return [f"Table tbl({', '.join(sorted(shown))})\nWrite a SQL query: {fill(question, _WORDS, rng)}"]
