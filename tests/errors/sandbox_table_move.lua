-- MX0105 at 2:7, 4 wide: table.move: recipes cannot call it
table.move({}, 1, math.maxinteger - 1, 2)
