-- MX0105 at 2:1, 5 wide: print: recipes cannot print
print("hello")
