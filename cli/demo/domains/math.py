"""Word problems of two or three steps."""

from __future__ import annotations

import random

from cli.demo.grammar import fill, vocabulary

MAX_TOKENS = 96

_WORDS = vocabulary(
    """
    name: Nina | Marcus | Leila | Tobias | Carla | Jonas | Amira | Derek | Paulina | Victor | Hannah | Omar
        | Gloria | Stefan | Bianca | Ray | Noemi | Curtis | Irene | Malik | Sonja | Dennis | Tara | Felipe
    thing: apples | marbles | stickers | books | pencils | cookies | seashells | stamps | eggs | balloons
        | oranges | toy cars | cupcakes | flowers | coins | tickets | bracelets | muffins | peaches
        | notebooks
    container: boxes | bags | baskets | crates | shelves | jars | trays | packs
    place: the market | a bakery | the school | a farm | the library | a factory | the office | a warehouse
    job: mows lawns | tutors students | walks dogs | paints fences | delivers newspapers | washes cars
        | sells lemonade
    trip: to work | to the lake | to school | to the city | to the mountains
    few: 2 to 9
    some: 10 to 60
    many: 80 to 480 by 4
    price: 2 to 25
    budget: 100 to 400 by 10
    percent: 10 | 20 | 25 | 30 | 40 | 50 | 60 | 75
    times: twice | three times | four times | five times
    part: half | a third | a quarter | a fifth
    problem:
        | {name} has {some} {thing} and buys {few} {container} with {few2} {thing} each. How many {thing}
            does {name} have now?
        | {name} has {many} {thing}. {name} gives {part} of them to {name2} and loses {few}. How many
            {thing} are left?
        | {name} buys {few} {thing} for ${price} each and {few2} {thing2} for ${price2} each. How much does
            {name} spend?
        | {name} has ${budget}. After buying {few} {thing} at ${price} each, how much money does {name} have
            left?
        | {name} {job} for {few} hours a day and earns ${price} an hour. How much does {name} earn in {few2}
            days?
        | {name} has {times} as many {thing} as {name2}. If {name2} has {some}, how many {thing} do they
            have together?
        | There are {some} {container} at {place} with {few} {thing} in each. If {some2} {thing} are sold,
            how many are left?
        | {name} drives {some} miles {trip} and {few} miles more on the way back. How many miles are that in
            {few2} days?
        | A box of {thing} costs ${price}. With a discount of {percent}%, how much do {few} boxes cost?
        | {name} read {some} pages on Monday and {times} as many on Tuesday. How many pages did {name} read
            in the two days?
        | {name} bakes {some} {thing} each morning for {few} days and sells {many} of them. How many {thing}
            are not sold?
        | {percent}% of the {many} people at {place} like {thing}. How many people do not like {thing}?
        | {name} packs {many} {thing} into {few} {container} and sells each for ${price}. How much money
            does {name} make?
        | {name} saves ${price} every week. After {some} weeks {name} spends ${some2} on {thing}. How much
            money is left?
        | {name} found {some} {thing} and {name2} found {few} more than that. How many did they find
            altogether?
        | {name} needs {many} {thing}, brings {some} and buys {times} that number. How many {thing} are
            still missing?
        | {name} walks {few} miles an hour for {few2} hours and then cycles {some} miles. How far does
            {name} travel?
        | There are {some} {thing} in each of {few} {container}, but {few2} in each are broken. How many
            {thing} are good?
        | {name} buys {few} packs of {some} {thing} and shares them equally with {name2}. How many does each
            of them get?
        | {name} is {some} years old. {name2} is {few} years younger. What will be the sum of their ages in
            {few2} years?
        | A ticket for a child costs ${few} and one for an adult ${price}. How much do {few2} children and
            {few3} adults pay?
        | {name} uses {few} cups of flour for {some} {thing}. How many cups are needed for {times} as many
            {thing}?
        | {name} earns ${many} a month and spends {percent}% of it on rent. How much is left after paying
            ${some} for food?
        | At {place}, {some} {thing} are sold on each of {few} days for ${price} each. How much money comes
            in?
    """
)


def write(rng: random.Random) -> list[str]:
    """One user turn."""
    problem = fill("{problem}", _WORDS, rng)
    return [problem[0].upper() + problem[1:]]
