-- MX0105 at 2:13, 6 wide: math.random: recipes cannot call it
return math.random()
