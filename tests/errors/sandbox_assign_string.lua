-- MX0105 at 2:8, 6 wide: string.format: recipes cannot change 'string'
string.format = nil
