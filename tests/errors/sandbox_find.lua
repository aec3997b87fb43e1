-- MX0105 at 3:41, 4 wide: string.find: recipes cannot call it
-- help: string has byte, char, format, len, lower, sub and upper
return ("aaaaaaaaaaaaaaaaaaaaaaaaaaaa"):find("a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-b")
