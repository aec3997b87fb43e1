-- MX0105 at 2:15, 3 wide: string.rep: recipes cannot call it
return string.rep("", 1 << 62)
