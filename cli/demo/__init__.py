"""`everdraft demo`: the whole loop on one machine, with traffic that shifts and a report that is checked."""
