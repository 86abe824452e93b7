"""The live page at `/dashboard`: how speculation does, what is being learnt, and the buttons of an operator."""
