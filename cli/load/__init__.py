"""Load: traffic at a rate or a concurrency, domain by domain on a timetable."""
