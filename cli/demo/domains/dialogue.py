"""A user who wants something reserved, found or sent: one turn, or a talk already under way."""

from __future__ import annotations

import random

from cli.demo.grammar import fill, vocabulary

MAX_TOKENS = 48

_WORDS = vocabulary(
    """
    city: Seattle | Portland | Denver | Boston | Chicago | Austin | Miami | Phoenix | Dallas | Atlanta
        | San Diego | San Jose | Fresno | Oakland | Sacramento | New York | Philadelphia | Toronto
        | Vancouver | London | Paris | Berlin | Sydney | Los Angeles | Las Vegas | Napa | Berkeley
        | Santa Rosa | Delhi | Mexico City
    day: today | tomorrow | this Friday | this Saturday | next Monday | next Tuesday | on Thursday
        | on Sunday | on {date}
    date: March 1st | March 2nd | March 3rd | March 4th | March 5th | March 6th | March 7th | March 8th
        | March 9th | March 10th | March 11th | March 12th | March 13th | March 14th
    when: {day} | {day} in the evening | {day} in the morning | {day} around noon
    hour: {number}{minutes} am | {number}{minutes} pm
    number: 1 to 12
    minutes: :00 | :15 | :30 | :45
    few: two | three | four | five | 2 | 3 | 4 | 5
    cuisine: Italian | Mexican | Thai | Indian | Chinese | Japanese | Greek | vegetarian | seafood | pizza
        | Korean
    food: sushi | tacos | curry | noodles | burgers | pasta | dumplings | falafel
    price: cheap | moderately priced | expensive | not too expensive | affordable
    film: action | comedy | horror | drama | science fiction | romantic | animated | fantasy | documentary
    feature: a famous director | a French cast | a good rating | English subtitles | a happy ending
    event: baseball game | concert | basketball game | theatre play | football match | jazz concert
        | rock show | musical
    doctor: dentist | eye doctor | general practitioner | dermatologist | heart specialist | ENT specialist
    salon: hair salon | unisex salon | barber | stylist | therapist | psychologist
    car: compact | standard | full-size | luxury | regular | hatchback | sedan
    ride: pool | regular | luxury | shared
    seat: economy | premium economy | business class | first class | flexible | value
    genre: pop | rock | country | electronic | jazz | reggae | hip hop | indie
    sight: museum | park | historical landmark | place of worship | sports venue | theme park | attraction
    friend: Nadia | Viktor | Elena | Marcus | Priya | Samuel | Ingrid | Tomas | Leila | Oscar | Yuki
        | Daniel
    account: checking | savings
    money: 20 to 980 by 10
    beds: two | three | 2 | 3
    find: Can you help me find | I am looking for | I'd like to find | Please find me | I need
        | Could you search for | I want to find | Would you look up | Help me find | Can you get me
    book: I'd like to book | Please reserve | Can you book | I want to reserve | Could you reserve
        | I need to book | Help me book
    booking:
        | {book} a table for {few} at a {cuisine} restaurant in {city} {when}.
        | {book} a table for {few} in {city} {day} at {hour}.
        | {find} a {price} {cuisine} restaurant in {city}.
        | {find} a place that serves {food} in {city}.
        | {find} a place to eat {food} in {city} for {few} people.
        | {find} a hotel in {city} with {beds} rooms {day}.
        | {book} a room at a hotel in {city} for {few} nights.
        | {find} a bus from {city} to {city2} leaving {when}.
        | {book} {few} bus tickets to {city}, leaving {day} at {hour}.
        | {find} a {seat} flight from {city} to {city2}.
        | {find} a round trip flight to {city} leaving {day}.
        | {book} a train from {city} to {city2} {when} for {few} people.
        | {find} a {film} movie playing in {city} {day}.
        | {book} {few} tickets for a {film} movie in {city}.
        | {find} a {event} in {city} {when}.
        | {book} {few} tickets for a {event} in {city}.
        | {find} a {doctor} in {city}.
        | {book} an appointment with a {doctor} in {city} {day} at {hour}.
        | {find} a {salon} in {city}.
        | {book} an appointment at a {salon} in {city} {when}.
        | I need to rent a {car} car in {city} from {date}.
        | {find} a rental car in {city} {day} at {hour}.
        | I need a {ride} cab for {few} people to downtown {city}.
        | {find} an apartment in {city} with {beds} bedrooms.
        | {find} a house in {city} for {few} people from {date}.
    other:
        | Send {money} dollars to {friend} from my {account} account.
        | Can you transfer {money} dollars to {friend} from my {account} account?
        | Please request {money} dollars from {friend}.
        | I'd like to watch a {film} movie with {feature} online.
        | Play me some {genre} songs from {city}.
        | {find} some {genre} music for my trip to {city}.
        | What will the weather be like in {city} {when}?
        | Is it going to rain in {city} {when}?
        | Are there any {sight}s to visit in {city}?
        | {find} a {sight} in {city} that is good for kids.
        | Do I have anything on my calendar {day} after {hour}?
        | Add a {event} in {city} to my calendar {day} at {hour}.
        | Set an alarm for {hour} {day}.
    """
)

_ANSWERS = (
    ("What day would you like?", "I would like it {day}, around {hour}."),
    ("At what time?", "At {hour} please."),
    ("How many people is it for?", "It is for {few} people, {when}."),
    ("Do you have a preferred time?", "Yes, {hour} on {date} would be great."),
    ("Can you tell me the date and the time?", "It should be {day} at {hour}."),
    ("Please confirm: {date} at {hour}.", "No, make it {hour2} on {date2}."),
    ("I found {few} options. Would you like to hear them?", "Yes, tell me about the {price} one for {when}."),
)


def write(rng: random.Random) -> list[str]:
    """One user turn, or two with the assistant's question between them."""
    if rng.random() < 0.25:
        return [fill("{other}", _WORDS, rng)]
    if rng.random() < 0.5:
        return [fill("{booking}", _WORDS, rng)]
    question, answer = rng.choice(_ANSWERS)
    return fill("\n".join(("{booking}", question, answer)), _WORDS, rng).split("\n")
